"""What /proc says of processes: their children, CPU and memory, and how busy the machine was.

Called by every part of the bench; the standard library is all that is here, so that small programs can import it. A
process may end while it is looked at: one that has gone has no children, and has used nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_NS = 1e9
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of one process or of several, as precise as the kernel's tick (10 ms)."""

    user_s: float = 0.0
    kernel_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Both."""
        return self.user_s + self.kernel_s

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user_s + other.user_s, self.kernel_s + other.kernel_s)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user_s - other.user_s, self.kernel_s - other.kernel_s)


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
        user, nice, system, idle, iowait, irq, softirq, steal = (int(word) / TICKS_PER_S for word in words)
        return cls(idle + iowait, steal, user + nice + system + idle + iowait + irq + softirq + steal)

    def since(self, earlier: MachineTime) -> MachineTime:
        """Return the difference."""
        return MachineTime(
            self.idle_s - earlier.idle_s, self.stolen_s - earlier.stolen_s, self.total_s - earlier.total_s
        )


def children(pid: int) -> list[int]:
    """Return the children of a process; those that a thread of it has started are among them."""
    found: list[str] = []
    with suppress(*_GONE):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are all that is wanted
            with suppress(*_GONE):
                found += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return [int(child) for child in found]


def tree(pids: Iterable[int]) -> Iterator[int]:
    """Yield processes and all their descendants."""
    for pid in pids:
        yield pid
        yield from tree(children(pid))


def descendants(pid: int) -> list[int]:
    """Return all processes below one."""
    return list(tree(children(pid)))


def cpu(pid: int, *, and_of_reaped: bool = False) -> Cpu:
    """Return what a process has used, its ended threads included; on request also what its reaped children had."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except _GONE:
        return Cpu()  # its parent has its time now
    user, kernel, reaped_user, reaped_kernel = (int(ticks) / TICKS_PER_S for ticks in fields[11:15])
    own = Cpu(user, kernel)
    return own + Cpu(reaped_user, reaped_kernel) if and_of_reaped else own


def live_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process' living threads, to the nanosecond."""
    total_ns = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(*_GONE):
            total_ns += int(path.read_text().split()[0])
    return total_ns / _NS


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, what it shares with others counted in proportion."""
    with suppress(*_GONE):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
