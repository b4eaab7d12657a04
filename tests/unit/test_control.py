"""What comes by the control channel, and what is no command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from workd.control import MAX_MESSAGE_BYTES, Cancel, Control

if TYPE_CHECKING:
    from workd.control import Command

CANCEL = {"v": 1, "do": "cancel", "queue": "default", "id": "1-0"}


def test_a_cancellation_is_passed_on() -> None:
    heard: list[Command] = []
    control = Control(heard.append)
    control.hear(json.dumps(CANCEL).encode())
    assert heard == [Cancel(do="cancel", queue="default", id="1-0")]
    assert (control.obeyed, control.ignored) == (1, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        json.dumps(CANCEL | {"v": 2}).encode(),
        json.dumps(CANCEL | {"do": "format the disk"}).encode(),
        json.dumps(CANCEL | {"id": ""}).encode(),
        json.dumps(CANCEL | {"id": 7}).encode(),
        json.dumps({"do": "cancel"}).encode(),
        json.dumps(CANCEL | {"id": "x" * 600}).encode(),
        json.dumps(CANCEL | {"more": "x" * MAX_MESSAGE_BYTES}).encode(),
    ],
)
def test_what_is_no_command_is_counted_and_ignored(raw: bytes) -> None:
    heard: list[Command] = []
    control = Control(heard.append)
    control.hear(raw)
    assert not heard
    assert (control.obeyed, control.ignored) == (0, 1)
