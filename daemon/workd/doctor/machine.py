"""Whether this machine is enough for the workers: cores, memory, open files, processes, and a cgroup that counts."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd.doctor.findings import Finding, note, ok, problem, warning
from workd.sizes import bounds

if TYPE_CHECKING:
    from workd.settings import Settings

_CGROUPS: Final = Path("/sys/fs/cgroup")
_WORKER_BYTES: Final = 64 << 20
"""What a worker with some libraries has, where no limit says more."""
_FILES_OF_DAEMON: Final = 128
_FILES_OF_WORKER: Final = 8
_THREADS_OF_WORKER: Final = 4
_CROWDED: Final = 4  # workers for each core


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is, for a daemon of this machine or unit; None is no limit, or not known."""

    cores: int
    memory_bytes: int | None
    memory_of: str
    """What sets that: the machine, or its cgroup."""
    open_files: int | None
    tasks: int | None
    cgroup: int | None
    """Version 1 or 2; None: none is mounted."""
    controllers: frozenset[str]


def look(cgroup: str = "", *, open_files: int | None = None, tasks: int | None = None) -> Machine:
    """Look at this machine. `cgroup` is a unit's, the limits are its own; without them those of this process count."""
    version, controllers = cgroups(_CGROUPS)
    limit = _memory_max(_CGROUPS / cgroup.lstrip("/")) if cgroup else None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = None if soft == resource.RLIM_INFINITY else soft
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=total if limit is None else min(total, limit),
        memory_of="the machine" if limit is None or limit >= total else "MemoryMax of the unit",
        open_files=open_files if open_files is not None else own,
        tasks=tasks,
        cgroup=version,
        controllers=controllers,
    )


def examine(machine: Machine, settings: Settings) -> list[Finding]:
    """Compare what there is with what the settings ask for."""
    workers = bounds(settings, machine.cores)
    return [
        _cores(machine, workers.most),
        _memory(machine, workers.first, settings.memory_limit_bytes),  # where the load decides, it looks at the memory
        _open_files(machine, workers.most),
        *_processes(machine, workers.most),
        _cgroup(machine),
    ]


def cgroups(root: Path) -> tuple[int | None, frozenset[str]]:
    """Return which version is mounted, and its controllers."""
    unified = root / "cgroup.controllers"
    if unified.exists():
        return 2, frozenset(unified.read_text().split())
    if root.is_dir() and (names := {entry.name for entry in root.iterdir() if entry.is_dir()}):
        return 1, frozenset(names)
    return None, frozenset()


def _memory_max(folder: Path) -> int | None:
    """Read the limit of a unit; None: none, or of a cgroup that is not there."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def _cores(machine: Machine, workers: int) -> Finding:
    said = f"{workers} workers on {machine.cores} cores"
    if workers > _CROWDED * machine.cores:
        todo = "fewer workers; for tasks that wait, async tasks and async_concurrency cost less than processes"
        return warning("machine.cores", said, todo)
    if workers < machine.cores:
        return note("machine.cores", said, "tasks that compute could use them all: workers")
    return ok("machine.cores", said)


def _memory(machine: Machine, workers: int, limit_bytes: int) -> Finding:
    if machine.memory_bytes is None:
        return note("machine.memory", "not known how much memory there is")
    each = limit_bytes or _WORKER_BYTES
    wanted = workers * each + _WORKER_BYTES
    reason = "memory_limit_bytes" if limit_bytes else "a guess, since memory_limit_bytes is 0"
    said = f"{workers} workers of {each >> 20} MiB ({reason}), {machine.memory_of} has {machine.memory_bytes >> 20} MiB"
    if wanted > machine.memory_bytes:
        todo = "fewer workers, a lower memory_limit_bytes, or more memory: else the OOM killer decides who goes"
        return warning("machine.memory", said, todo)
    return ok("machine.memory", said)


def _open_files(machine: Machine, workers: int) -> Finding:
    needed = _FILES_OF_DAEMON + workers * _FILES_OF_WORKER
    if machine.open_files is not None and machine.open_files < needed:
        text = f"{machine.open_files} open files are allowed, {workers} workers need some {needed}"
        return problem("machine.files", text, f"LimitNOFILE={2 * needed} in the unit, or `ulimit -n {2 * needed}`")
    return ok("machine.files", f"{machine.open_files or 'any number of'} open files are allowed")


def _processes(machine: Machine, workers: int) -> list[Finding]:
    needed = (workers + 2) * _THREADS_OF_WORKER
    if machine.tasks is not None and machine.tasks < needed:
        text = f"TasksMax allows {machine.tasks} processes and threads, {workers} workers need some {needed}"
        return [problem("machine.processes", text, f"TasksMax={4 * needed} in the unit")]
    return []


def _cgroup(machine: Machine) -> Finding:
    without = "MemoryMax= does nothing, and of a worker that the OOM killer ends nobody learns why"
    if machine.cgroup is None:
        return note("machine.cgroup", f"no cgroups here: {without}")
    if "memory" not in machine.controllers:
        todo = "the kernel's command line: cgroup_enable=memory; in a container: delegate the memory controller to it"
        return warning("machine.cgroup", f"cgroup v{machine.cgroup} without its memory controller: {without}", todo)
    return ok("machine.cgroup", f"cgroup v{machine.cgroup} with its memory controller")
