"""What commands do with a terminal, and without one: tables, questions, interruptions, encodings, a full disk."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workd.cli import app
from workd.cli import looking_after as shared
from workd.exits import Exit


class Terminal(io.StringIO):
    """Takes the place of stdin or stdout, as a terminal."""

    def isatty(self) -> bool:
        return True


class Interrupted(Terminal):
    """A terminal at which somebody presses Ctrl-C instead of an answer."""

    def readline(self, *_: object) -> str:  # type: ignore[override] # two bases of the library disagree on it
        raise KeyboardInterrupt


# ── tables


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, term: str, *rows: tuple[str, ...]) -> list[str]:
    """A table with these rows on a terminal so wide, line by line."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", term)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    shared.table(("ENTRY", "TASK", "ERROR"), rows)
    return screen.getvalue().splitlines()[1:]  # without the header, which is bold


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("columns", [10, 40, 80, 400])
def test_however_narrow_the_terminal_an_id_stays_in_one_piece(
    columns: int, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = drawn(monkeypatch, columns, term, ("1893456000000-0", "日本", "word " * 40))
    assert lines[0].split()[:2] == ["1893456000000-0", "日本"]


def test_what_does_not_fit_is_folded_in_the_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 60, "xterm", ("1893456000000-0", "resize", "x" * 100))
    assert sum(line.count("x") for line in lines) == 100
    assert max(map(len, lines)) == 60


def test_a_name_that_somebody_made_very_long_does_not_spread_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80, "xterm", ("y" * 500, "resize", "no such file"))
    assert sum(line.count("y") for line in lines) == 500
    assert max(map(len, lines)) < 100


# ── questions


@pytest.mark.parametrize(
    ("typed", "answer"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_only_a_yes_is_a_yes(
    typed: str, answer: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert shared.confirmed("Throw \x1b[2J away?", yes=False) is answer
    assert capsys.readouterr() == ("", "Throw \\x1b[2J away? [y/N]: ")  # stdout is for the JSON


def test_ctrl_c_at_a_question_is_no_mistake_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Interrupted())
    monkeypatch.setattr("workd.client.dead_letters.DeadLetters.count", lambda *_: 3)
    assert app.call(["dead", "purge", "--all", "--redis-url", "redis://127.0.0.1:1/0"]) == Exit.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_an_interruption_says_how_far_the_work_had_come(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), shared.bar("purging", 1000) as advance:  # noqa: PT012 - the moment matters
        advance(500)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "workd: interrupted: purging had come to 500 of 1000; the rest is as it was\n"


# ── what the output can take

PROGRAM = """
import sys
from workd import __main__ as command
from workd.cli import looking_after as shared

def run(argv):
    shared.table(("A", "B"), [("1", "日本😀")])
    shared.echo_json({"error": "日本😀"})
    return 0

command._run = run
sys.exit(command.main())
"""


@pytest.mark.parametrize("encoding", ["latin-1", "koi8-r", "utf-8"])
def test_what_an_encoding_does_not_have_is_escaped(encoding: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=60, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, b"")
    header, row, document = done.stdout.decode(encoding).split("\n", 2)
    assert (header, row) == ("A\tB", "1\t日本😀" if encoding == "utf-8" else "1\t\\u65e5\\u672c\\U0001f600")
    assert json.loads(document) == {"error": "日本😀"}


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(unbuffered: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "workd", "schema"],
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False, env=environ,
        )  # fmt: skip
    assert done.returncode == Exit.FAILURE
    assert done.stderr == b"workd: the output cannot be written: No space left on device\n"
