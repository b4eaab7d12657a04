"""How many cores this process may use: of those it may run on, as many as its cgroups let it keep busy.

A container sees all cores of its machine. What it may use of them is a quota of CPU time, in files of its cgroup and of
those around it; with a worker for each core that it sees, workers would stand still for most of the time.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUPS: Final = Path("/sys/fs/cgroup")
_MINE: Final = Path("/proc/self/cgroup")


def usable() -> int:
    """Count the cores that this process can keep busy: at least one; a part of one counts as one."""
    seen = len(os.sched_getaffinity(0))
    quota = quota_cores()
    return seen if quota is None else max(1, min(seen, math.ceil(quota)))


def quota_cores(mine: Path = _MINE, cgroups: Path = _CGROUPS) -> float | None:
    """Return the least quota of this process' cgroup and of those around it, in cores; None if there is none."""
    quotas = [quota for folder in _folders(mine, cgroups) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _folders(mine: Path, cgroups: Path) -> Iterator[Path]:
    """List the folders of our cgroups that limit CPU time, from within outwards; some of them may not be visible."""
    for line in _read(mine).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue  # version 1, another controller
        root = cgroups / controllers if controllers else cgroups
        inner = root / path.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents)


def _quota_of(folder: Path) -> float | None:
    """Read `cpu.max` of version 2, or the two files of version 1."""
    words = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us").strip(),
        _read(folder / "cpu.cfs_period_us").strip(),
    ]
    try:
        quota_us, period_us = (int(word) for word in words)
    except ValueError:  # `max`, or no such files
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
