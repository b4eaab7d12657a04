"""What the kernel tells of a process from outside: whether it runs or hangs, what it uses, which signals it takes.

Used by the x-ray. A read takes some ten microseconds and never waits for the process, whatever it is stuck in.
Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_wchan(5), proc_pid_stack(5).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MOST_THREADS: Final = 256
_MOST_BYTES: Final = 16 * 1024

STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep: it waits for a disk, a network file system or a driver, and obeys no signal",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "Z": "dead",
    "X": "dead",
    "I": "idle",
}

HELD_UP: Final = frozenset("DTtZX")
"""States in which a process takes no signal."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses. `state` is the kernel's letter."""

    state: str
    cpu_s: float  # of all its threads, since its start
    threads: int
    rss_bytes: int


def usage(pid: int) -> Usage | None:
    """Return what a process uses; None if it is gone."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    if not fields:
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return Usage(fields[0], cpu_s, int(fields[17]), int(fields[21]) * _PAGE_BYTES)


def other_threads_at_work(pid: int) -> bool:
    """Say whether a thread beside the main one is on a core, or ready for one, at this moment."""
    try:
        with os.scandir(f"/proc/{pid}/task") as entries:
            threads = [entry.name for entry in islice(entries, _MOST_THREADS)]
    except OSError:
        return False
    stats = (_stat(Path(f"/proc/{pid}/task/{thread}/stat")) for thread in threads if thread != str(pid))
    return any(fields and fields[0] == "R" for fields in stats)


def takes(pid: int, number: int) -> bool:
    """Say whether a process has a handler for this signal: without one it would die of a real-time signal."""
    return bool(_signals(pid, "SigCgt") >> (number - 1) & 1)


def holds_back(pid: int, number: int) -> bool:
    """Say whether the main thread of a process blocks this signal."""
    return bool(_signals(pid, "SigBlk") >> (number - 1) & 1)


def kernel_stack(pid: int) -> str:
    """Return where in the kernel a process is, as far as we may know: its stack for root, else one name."""
    return _read(Path(f"/proc/{pid}/stack")) or _read(Path(f"/proc/{pid}/wchan")).removeprefix("0")


def _signals(pid: int, name: str) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 16)
    return 0


def _stat(path: Path) -> list[str]:
    """Return the fields after the name, which may hold anything; none if the process is gone."""
    return _read(path).rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(_MOST_BYTES).decode(errors="replace").strip()
    except OSError:  # it is gone, or not for us
        return ""
