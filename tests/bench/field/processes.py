"""What the workers of a system and its server use: CPU and memory from /proc, and what is left over of them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.field import surroundings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pids: Iterable[int]) -> Iterator[int]:
    """Yield processes and all their descendants; threads have children too."""
    for pid in pids:
        yield pid
        yield from tree(_children(pid))


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that process trees have used so far, those of children that were waited for included."""
    return sum(_ticks(pid) for pid in tree(pids)) / TICKS_PER_S


def pss_bytes(pids: Iterable[int]) -> int:
    """Return the memory of process trees, what several processes share counted once."""
    return sum(_pss_bytes(pid) for pid in tree(pids))


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


def _children(pid: int) -> list[int]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            found += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return [int(child) for child in found]


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended: its time is its parent's now
    return sum(map(int, fields[11:15]))  # utime, stime, and of the children that were waited for


def _pss_bytes(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
