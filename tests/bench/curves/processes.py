"""What /proc says that processes have used: CPU in seconds, memory in bytes, and how busy the machine was.

Called by `stage` and the curves.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_NS = 1e9


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process' living threads, to the nanosecond; 0 for a process that has gone."""
    total_ns = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            total_ns += int(path.read_text().split()[0])
    return total_ns / _NS


def descendants(pid: int) -> list[int]:
    """Return all processes below one."""
    children = []
    with suppress(FileNotFoundError, ProcessLookupError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, what it shares with others counted in proportion. Raises LookupError."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/{pid}/smaps_rollup names no Pss")


@dataclass(frozen=True, slots=True)
class MachineTime:
    """What all cores together have done so far, in seconds."""

    idle_s: float
    stolen_s: float
    """Taken by the host for its other guests."""
    total_s: float

    @classmethod
    def now(cls) -> MachineTime:
        """Read it."""
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        user, nice, system, idle, iowait, irq, softirq, steal = (int(word) / _TICKS_PER_S for word in words)
        return cls(idle + iowait, steal, user + nice + system + idle + iowait + irq + softirq + steal)

    def since(self, earlier: MachineTime) -> MachineTime:
        """Return the difference."""
        return MachineTime(
            self.idle_s - earlier.idle_s, self.stolen_s - earlier.stolen_s, self.total_s - earlier.total_s
        )
