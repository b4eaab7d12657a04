"""Daemons whose stdout and stderr are what a test gives them: a pipe, a terminal, nothing at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

from support.daemons import FOLDER, MARK, DaemonProcess, _die_with_parent, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TASKS = "support.log_tasks"

# Python imports this by itself, in the supervisor and in the forkserver.
JOURNAL_ELSEWHERE = "import os\nfrom workd.output import journal\njournal.SOCKET = os.environ['TEST_JOURNAL']\n"


class DaemonOn(DaemonProcess):
    """`workd run` with a stderr of the test's. Its log is not ours to read here: see by its jobs that it is ready."""

    def __init__(
        self, redis_url: str, folder: Path, fd: int | None, *, environment: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """`fd` is for stdout and stderr; None closes both."""
        super().__init__(redis_url, folder, modules=(TASKS,), environment=environment, **more)
        self._fd = fd

    def start(self) -> DaemonOn:
        command = [*_die_with_parent(), *self._command]
        if self._fd is None:
            command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
        where = subprocess.DEVNULL if self._fd is None else self._fd
        self._process = subprocess.Popen(
            command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=where, stderr=where
        )
        return self

    def log_text(self) -> str:
        return "(it went to where the test has sent it)"


def with_journal(folder: Path, socket_path: Path, stream_fd: int) -> dict[str, str]:
    """Return what makes a daemon take this for the journal; its stderr has to be `stream_fd`."""
    (folder / "sitecustomize.py").write_text(JOURNAL_ELSEWHERE)
    found = os.fstat(stream_fd)
    path = os.pathsep.join([str(folder), clean_environment()["PYTHONPATH"]])
    return {
        "PYTHONPATH": path,
        "TEST_JOURNAL": str(socket_path),
        "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}",
    }


def with_patience(folder: Path, patience_s: float) -> dict[str, str]:
    """Return what makes the workers of a daemon wait so long for a reader that has no CPU at the moment."""
    (folder / "sitecustomize.py").write_text(f"from workd.output import sink\nsink.PATIENCE_S = {patience_s}\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), clean_environment()["PYTHONPATH"]])}


class PipeReader:
    """Reads a pipe from the moment it is started on, and keeps all of it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> PipeReader:
        self._thread.start()
        return self

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._fd, 65536):
                self._data += data

    def has_all(self) -> bool:
        """Whether something came, and nothing waits in the pipe."""
        waiting = bytearray(4)
        fcntl.ioctl(self._fd, termios.FIONREAD, waiting)
        return bool(self._data) and not int.from_bytes(waiting, sys.byteorder)

    def wait_end(self) -> None:
        """Wait until nobody has the other end any more."""
        self._thread.join(60)
        assert not self._thread.is_alive()

    def text(self) -> str:
        return bytes(self._data).decode(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Return what came as JSON; every line that begins as such has to be whole."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]


__all__ = ["FOLDER", "MARK", "DaemonOn", "PipeReader", "with_journal", "with_patience"]
