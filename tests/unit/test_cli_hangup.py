import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workd.cli import hangup
from workd.cli.health import Answer
from workd.exits import Exit

ME = str(os.getpid())
START = {"reloads": 4, "reloading": False, "reload_trouble": ""}


class Daemon:
    """A daemon as far as this command can see: reports, one after the other, and the signals that it was sent."""

    def __init__(self, *reports: dict[str, object]) -> None:
        self.reports = list(reports)
        self.signals: list[tuple[int, int]] = []
        self.asked = 0

    def ask(self, where: object, path: str, timeout_s: float) -> Answer:
        self.asked += 1
        return Answer(200, self.reports.pop(0))

    def kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / f"health-{ME}.sock").touch()
    return {"RUNTIME_DIRECTORY": str(tmp_path)}


def reload_of(daemon: Daemon, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(hangup, "ask", daemon.ask)
    monkeypatch.setattr(os, "kill", daemon.kill)
    monkeypatch.setattr(hangup, "_POLL_S", 0)
    code = hangup.main([ME], environ)
    assert daemon.signals == [(int(ME), signal.SIGHUP)]
    return code


def test_it_waits_for_the_end_of_the_reload(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(START, START, START | {"reloading": True}, START | {"reloads": 5})
    assert reload_of(daemon, environ, monkeypatch) == Exit.OK
    assert daemon.reports == []


def test_of_a_reload_that_is_under_way_it_waits_for_the_next_one(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(START | {"reloading": True}, START | {"reloads": 5}, START | {"reloads": 6})
    assert reload_of(daemon, environ, monkeypatch) == Exit.OK
    assert daemon.reports == []


def test_a_reload_that_fails_is_a_failure_with_its_cause(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(START, START | {"reloads": 5, "reload_trouble": "tasks: SyntaxError"})
    assert reload_of(daemon, environ, monkeypatch) == Exit.FAILURE
    assert capsys.readouterr().err == "workd: the reload failed: tasks: SyntaxError\n"


def test_without_a_health_socket_the_signal_is_sent_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon()
    assert reload_of(daemon, {"RUNTIME_DIRECTORY": str(tmp_path)}, monkeypatch) == Exit.OK
    assert daemon.asked == 0


def test_a_process_that_is_gone_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert hangup.main([str(process.pid)], {"RUNTIME_DIRECTORY": str(tmp_path)}) == Exit.FAILURE
    assert "no process" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["x"], ["1"], ["-1"], ["3", "4"]])
def test_anything_but_one_process_is_a_mistake(argv: list[str]) -> None:
    assert hangup.main(argv, {}) == Exit.USAGE


def test_it_starts_with_the_standard_library_alone() -> None:
    program = (
        "import sys, workd.cli.hangup; print(*sorted({'typer', 'pydantic', 'redis', 'asyncio'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "\n"
