"""What a process says that cannot go on, whatever the exception is like."""

from __future__ import annotations

import json

import pytest

from workd.errors import BootError
from workd.pool.child.complaints import complain


class MuteError(Exception):
    """One that breaks whoever asks for its text."""

    def __str__(self) -> str:
        raise KeyError("no text")


def test_a_complaint_names_the_exception_and_the_place() -> None:
    with pytest.raises(RuntimeError) as raised:
        raise RuntimeError("no database")
    said = complain(raised.value, "images")
    assert said["module"] == "images"
    assert said["cause"].startswith("RuntimeError: no database (")
    assert "test_pool_complaints.py:" in said["cause"]
    assert "raise RuntimeError" in said["traceback"]


def test_an_exception_without_a_text_is_told_all_the_same() -> None:
    assert complain(MuteError())["cause"] == "MuteError: <its text cannot be had: KeyError in __str__>"


def test_what_is_told_of_it_can_be_written_anywhere() -> None:
    told = json.loads(json.dumps(complain(ValueError("half a character: \udc80"), "images")))
    error = BootError(told["module"], told["cause"], told["traceback"])
    assert error.cause.encode().decode() == "ValueError: half a character: \\udc80"
    assert f"{error}".encode().startswith(b"images: ValueError")
    assert error.traceback.encode()


@pytest.mark.parametrize("said", ["\ud800", "a name \udcff of a file"])
def test_whoever_is_told_can_be_told(said: str) -> None:
    told = complain(RuntimeError(said), "my_tasks")
    shown = said.encode("ascii", "backslashreplace").decode()
    assert told["module"] == "my_tasks"
    assert told["cause"] == f"RuntimeError: {shown}"
    assert told["traceback"].endswith(f"RuntimeError: {shown}\n")
    assert all(text.encode() for text in told.values())
