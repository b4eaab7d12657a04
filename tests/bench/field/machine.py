"""The machine, which others may measure on too: whose turn it is, and what it is.

`flock FILE …` keeps the others' turn. Ours is held over several scenes, for all systems of a round are to meet the same
machine, but not for so long that nobody else gets anywhere.
"""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.field.run import server_binary

if TYPE_CHECKING:
    from io import TextIOWrapper

TURN_S = 150.0
YIELD_S = 1.0  # flock has no order: who asks again at once gets the lock before those it wakes


class Machine:
    """Our turns on the machine; without a lock it is always ours."""

    def __init__(self, lock: Path | None = None) -> None:
        """Take the file that everybody locks who measures here."""
        self._path = lock
        self._file: TextIOWrapper | None = None
        self._until_s = 0.0

    def ours(self) -> None:
        """Return once it is our turn, which it still is until the turn has lasted for long enough."""
        if self._path is None or (self._file is not None and time.monotonic() < self._until_s):
            return
        if self._file is not None:
            self.release()
            time.sleep(YIELD_S)
        self._file = self._path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._until_s = time.monotonic() + TURN_S

    def release(self) -> None:
        """End our turn; safe twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def description() -> dict[str, Any]:
    """Say what this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    server = subprocess.run([server_binary(), "--version"], capture_output=True, text=True, check=True)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "server": server.stdout.strip(),
    }
