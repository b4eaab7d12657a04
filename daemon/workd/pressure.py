"""How short the machine is of memory and of cores: from /proc, and from the limit of our own memory cgroup.

Read only when more workers are wanted. What cannot be read counts as plenty; without pressure stall information, which
some kernels leave out, the load average stands in for the cores.

Source: Documentation/accounting/psi.rst, admin-guide/cgroup-v2.rst (memory.max, memory.current, memory.stat) and
cgroup-v1/memory.rst of the Linux kernel; proc_meminfo(5).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES: Final = 2**60  # version 1 says "no limit" by a number of this size
_VERSION_2: Final = ("memory.max", "memory.current")
_VERSION_1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes")


class Pressure(NamedTuple):
    """How it is now."""

    free_bytes: int | None = None  # None: nobody knows
    total_bytes: int = 0
    memory_stall: float = 0.0  # share of the last ten seconds in which something waited for memory
    cpu_stall: float = 0.0  # … or for a core


def read(proc: Path = PROC, cgroups: Path = CGROUPS) -> Pressure:
    """Look at all of it; some reads of files in memory, well under a millisecond."""
    free_bytes, total_bytes = _of_machine(proc)
    for limit_bytes, used_bytes in _of_cgroups(proc, cgroups):
        left_bytes = max(0, limit_bytes - used_bytes)
        if free_bytes is None or left_bytes < free_bytes:
            free_bytes, total_bytes = left_bytes, limit_bytes
    stall = _stall(proc / "pressure" / "cpu")
    return Pressure(
        free_bytes, total_bytes, _stall(proc / "pressure" / "memory") or 0.0, _by_load(proc) if stall is None else stall
    )


def _of_machine(proc: Path) -> tuple[int | None, int]:
    """Return what the machine has left and has in all."""
    fields = dict(line.split(":", 1) for line in _text(proc / "meminfo").splitlines() if ":" in line)
    sizes = {name: int(value.split()[0]) * 1024 for name, value in fields.items() if value.split()[:1]}
    return sizes.get("MemAvailable"), sizes.get("MemTotal", 0)


def _of_cgroups(proc: Path, cgroups: Path) -> list[tuple[int, int]]:
    """Return limit and use of each memory cgroup that we are in, up to the root; those without a limit are left out."""
    found = []
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += _upwards(cgroups, path, _VERSION_2)
        elif "memory" in controllers.split(","):
            found += _upwards(cgroups / "memory", path, _VERSION_1)
    return found


def _upwards(root: Path, path: str, names: tuple[str, str]) -> list[tuple[int, int]]:
    found = []
    folder = root / path.strip("/")
    for one in (folder, *folder.parents):
        limit, used = (_text(one / name).strip() for name in names)
        if limit.isdigit() and used.isdigit() and int(limit) < _UNLIMITED_BYTES:
            found.append((int(limit), int(used) - _reclaimable(one)))
        if one == root:
            break
    return found


def _reclaimable(folder: Path) -> int:
    """Return what of a cgroup's use are files that nobody has touched for long: it gives them up when asked."""
    fields = dict(line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    value = fields.get("total_inactive_file", fields.get("inactive_file", "0")).strip()
    return int(value) if value.isdigit() else 0


def _stall(file: Path) -> float | None:
    """Return the share of ten seconds in which something stood still; None where the kernel does not tell."""
    for line in _text(file).splitlines():
        kind, *fields = line.split()
        values = dict(field.split("=", 1) for field in fields if "=" in field)
        if kind == "some" and "avg10" in values:
            return float(values["avg10"]) / 100
    return None


def _by_load(proc: Path) -> float:
    """Return 1.0 if more is running than there are cores, by the load average of a minute."""
    words = _text(proc / "loadavg").split()
    return 1.0 if words and float(words[0]) > (os.cpu_count() or 1) else 0.0


def _text(file: Path) -> str:
    """Return the text of a file; nothing if it can't be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
