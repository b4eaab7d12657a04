"""The page for task authors: its examples run, on a real daemon, and its table has every option."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.daemons import DaemonProcess
from support.pages import Page
from workd_tasks.options import TaskKeywords

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

PAGE = Page("tasks.md", "shop")


def test_every_example_is_one_that_is_run() -> None:
    assert len(PAGE.tasks) == len(PAGE.producers) == len(PAGE.blocks) / 2 >= 5


def test_the_table_has_every_option_and_no_other() -> None:
    table = PAGE.text.partition("| option |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(TaskKeywords.__annotations__)


def test_the_examples_run(valkey: Server, tmp_path: Path) -> None:
    PAGE.write(tmp_path)
    with DaemonProcess(valkey.url, tmp_path, modules=("shop",)) as daemon:
        daemon.wait_ready()
        PAGE.run(valkey, tmp_path, daemon)
        told = [line["error"] for line in daemon.log("to be looked at")]
        assert told == ["Retry", "ConnectionResetError", "Reject", "CardDeclinedError"]
        assert [line["on_behalf_of"] for line in daemon.log("a letter is sent")] == ["zoe", "zoe"]
        daemon.term()
        assert daemon.wait() == 0
