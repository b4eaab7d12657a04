"""Ends what a system has left behind, wherever in the tree of processes it is by now. Called by `run` after each."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from bench.field import surroundings


def kill_marked(mark: str) -> int:
    """Kill every process with this mark in its environment, whoever its parent is by now; return how many."""
    sign = f"{surroundings.MARK}={mark}".encode()
    killed = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if name.isdigit() and sign in _environment(int(name)):
            with suppress(ProcessLookupError):
                os.kill(int(name), signal.SIGKILL)
                killed += 1
    return killed


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
