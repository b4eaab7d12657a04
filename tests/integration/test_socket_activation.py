"""Health on a socket that was there before the daemon: what systemd does with workd-health.socket."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.daemons import EXIT_TIMEOUT_S, FOLDER, READY_TIMEOUT_S, TASKS, clean_environment
from support.waiting import eventually
from workd.address import UnixAddress
from workd.cli.health import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

ACTIVATE = shutil.which("systemd-socket-activate")

pytestmark = pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed (package systemd)")


class Activated:
    """A daemon that the first who connects to a socket starts."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.path = folder / "health.sock"
        self.own = UnixAddress(str(folder / "own.sock"))
        self._log = folder / "log"
        environment = clean_environment() | {FOLDER: str(folder)}
        given = [
            word for name, value in environment.items() for word in ("-E", f"{name}={value}")
        ]  # it hands on no other
        options = ["--redis-url", redis_url, "--workers", "1", "--http", str(self.own)]
        daemon = [sys.executable, "-m", "workd", "run", TASKS, *options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(ACTIVATE), "-l", str(self.path), "--fdname=health", *given, *daemon],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self.path.exists)

    def ask(self, question: str) -> Answer:
        return ask(UnixAddress(str(self.path)), question, READY_TIMEOUT_S)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(EXIT_TIMEOUT_S) == 0, self._log.read_text()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def daemon(server: Server, tmp_path: Path) -> Iterator[Activated]:
    daemon = Activated(server.url, tmp_path)
    yield daemon
    daemon.close()


def test_a_probe_from_before_the_start_is_answered_and_so_is_the_address_of_the_settings(daemon: Activated) -> None:
    first = daemon.ask("/livez")
    assert (first.status, first.report["ok"]) == (200, True)
    assert ask(daemon.own, "/livez", READY_TIMEOUT_S).status == 200
    daemon.stop()


def test_the_file_of_the_socket_is_not_the_daemons_to_remove(daemon: Activated) -> None:
    daemon.ask("/livez")
    daemon.stop()
    assert not daemon.path.with_name("own.sock").exists()
    assert daemon.path.is_socket()
