"""The page for task authors: its examples run, on a real daemon, and its table has every option."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess, clean_environment
from workd_tasks.options import TaskKeywords

if TYPE_CHECKING:
    from support.servers import Server

PAGE_PATH = Path(__file__).parents[2] / "docs" / "tasks.md"
MODULE, PRODUCER = "# shop.py\n", "# a producer\n"

if not PAGE_PATH.exists():
    pytest.skip("the tests run outside the repository, which has the documents", allow_module_level=True)
PAGE = PAGE_PATH.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def blocks(first_line: str) -> list[str]:
    return [block for block in BLOCKS if block.startswith(first_line)]


def test_every_example_is_one_that_is_run() -> None:
    assert len(blocks(MODULE)) == len(blocks(PRODUCER)) == len(BLOCKS) / 2 >= 5


def test_the_table_has_every_option_and_no_other() -> None:
    table = PAGE.partition("| option |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(TaskKeywords.__annotations__)


def test_the_examples_run(valkey: Server, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("\n\n".join(blocks(MODULE)))
    with DaemonProcess(valkey.url, tmp_path, modules=("shop",)) as daemon:
        daemon.wait_ready()
        for number, block in enumerate(blocks(PRODUCER)):
            script = tmp_path / f"producer_{number}.py"
            script.write_text(f"REDIS_URL = {valkey.url!r}\n{block}")
            command = [sys.executable, "-W", "error", str(script)]  # which is where it looks for shop.py
            done = subprocess.run(
                command, env=clean_environment(), capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, f"{block}\n{done.stderr}\n{daemon.log_text()}"
        told = [line["error"] for line in daemon.log("to be looked at")]
        assert told == ["Retry", "ConnectionResetError", "Reject", "CardDeclinedError"]
        assert [line["on_behalf_of"] for line in daemon.log("a letter is sent")] == ["zoe", "zoe"]
        daemon.term()
        assert daemon.wait() == 0
