"""docs/inspecting.md: command lines that workd takes, and names as the code has them."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from support import command_lines
from workd import control_wire as wire
from workd import xray
from workd.answering import ORDERED_WITHIN_S
from workd.broker import keys
from workd.client.fleet import Fleet
from workd.pool import board

PAGE = Path(__file__).parents[2] / "docs" / "inspecting.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.exists():
        pytest.skip("the tests run outside the repository, which has the documents")
    return PAGE.read_text(encoding="utf-8")


def test_command_lines_that_are_shown_are_valid(page: str) -> None:
    shown = re.findall(r"^\$ (workd .*?)(?:\s+#.*)?$", page, re.MULTILINE)
    assert len(shown) >= 7
    for line in shown:
        command_lines.parsed(line)


def test_channels_keys_signals_and_numbers_are_those_of_the_code(page: str) -> None:
    assert {keys.ASK, keys.ORDERS} <= set(re.findall(r"`(workd:[a-z]+)`", page))
    assert keys.answers("").rstrip(":") in page
    numbers = (board.ORDER_SIGNAL, board.STACKS_SIGNAL, board.QUESTION_SIGNAL, board.OWN_STACK_SIGNAL)
    assert [number - signal.SIGRTMIN for number in numbers] == [6, 7, 8, 9]
    assert "`SIGRTMIN+6` to `SIGRTMIN+9`" in page
    assert f"at most {wire.MAX_MESSAGE_BYTES} bytes" in page
    assert f"{xray.MOST_JOBS:,} jobs at most" in page
    assert f"counts for {ORDERED_WITHIN_S:g} s" in page
    assert f"over the last {xray.SAMPLE_S:g} s" in page


def test_a_command_as_it_is_shown_is_one(page: str) -> None:
    [text] = re.findall(r"^PUBLISH workd:ask '(.*)'$", page, re.MULTILINE)
    shown = json.loads(text) | {"reply": "0" * 32}
    assert isinstance(wire.read_command(json.dumps(shown)), wire.Inspect)


def test_every_command_is_named_and_has_a_method(page: str) -> None:
    [row] = re.findall(r"^\| `do` \| (.*) \|$", page, re.MULTILINE)
    names = re.findall(r"`(\w+)`", row)
    for name in names:
        assert hasattr(Fleet, name)
    kinds = (wire.Ping, wire.Inspect, wire.Stacks, wire.Scale, wire.Quiet, wire.Resume, wire.Reload)
    assert names == [kind.__name__.lower() for kind in kinds]
