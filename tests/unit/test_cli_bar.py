"""Long work shows a bar on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from workd.cli import looking_after as shared

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    """Takes stderr's place, as a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in stderr's place: in the test itself, since pytest changes stderr between setup and call."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def worked(*, shown: bool) -> None:
    with shared.bar("replaying", 10, shown=shown) as advance:
        for done in range(1, 11):
            advance(done)


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    worked(shown=True)
    assert "replaying" in screen.getvalue()
    assert "100%" in screen.getvalue()


def test_with_json_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    worked(shown=False)
    assert screen.getvalue() == ""


def test_elsewhere_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    worked(shown=True)
    assert capsys.readouterr() == ("", "")
