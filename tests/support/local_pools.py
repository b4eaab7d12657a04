"""Whether a `workd.Pool` is whole again after a fault, and what it may not leave behind."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from support import fault_calls
from support.pool_owner import left_overs
from support.processes import children, is_alive
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd import Pool
    from workd.pool.core import ProcessPool

MARK = "WORKD_TEST_MARK"

FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
"""For tests that fork this process on purpose: newer Pythons warn of that."""


# ── a look inside ──


def worker_pids(pool: Pool) -> list[int]:
    """Return the pids of the workers that are there now."""
    return [worker.pid for worker in pool.stats().workers]


def ready_pids(pool: Pool) -> list[int]:
    """Return the pids of the workers that take calls."""
    return [worker.pid for worker in pool.stats().workers if worker.state == "ready"]


def busy_pids(pool: Pool) -> list[int]:
    """Return the pids of the workers that have calls: one that dies idle, again and again, is replaced more slowly."""
    return [worker.pid for worker in pool.stats().workers if worker.state == "ready" and worker.held]


def forkserver_pid(pool: Pool) -> int:
    """Return the pid of the process that makes the workers."""

    async def look(core: ProcessPool) -> int:
        return core.boots.forkserver_pid

    return pool._engine.ask(look)


def begun(folder: Path, calls: int = 1) -> list[int]:
    """Wait until so many calls have told in this folder that they have begun; return their workers, and forget it."""
    told = eventually(lambda: found if len(found := list(folder.glob("[0-9]*"))) >= calls else [], timeout_s=40)
    for path in told:
        path.unlink()
    return [int(path.name) for path in told]


def assert_whole(pool: Pool) -> None:
    """Fail unless every slot has a worker, each of them runs calls, and no dead one is left unreaped."""
    size = pool.stats().size
    eventually(lambda: len(ready_pids(pool)) == len(worker_pids(pool)) == size, timeout_s=40)
    with tempfile.TemporaryDirectory() as folder:
        met = {result.get(20) for result in [pool.apply_async(fault_calls.meet, (folder, size)) for _ in range(size)]}
    assert len(met) == size
    calls = 20 * size
    assert pool.map(fault_calls.double, range(calls), chunksize=1) == [2 * number for number in range(calls)]
    eventually(lambda: all(is_alive(child) for child in children(forkserver_pid(pool))))


# ── what is left behind ──


@contextmanager
def marked() -> Iterator[str]:
    """Give all programs that are started meanwhile a mark by which they can be found, whoever their parent is."""
    mark = uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        yield mark


def processes(mark: str) -> list[int]:
    """Return the pids of all living processes that have this mark."""
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in _all_pids() if wanted in _read(pid, "environ") and is_alive(pid)]


def shared_memory(pid: int) -> Counter[str]:
    """Return the semaphores and other pieces of shared memory that a process has mapped."""
    lines = _read(pid, "maps").decode().splitlines()
    return Counter(path for line in lines if (path := line[73:]).startswith(("/dev/shm/", "/memfd:")))


@contextmanager
def nothing_left_behind() -> Iterator[str]:
    """Fail if a process, a thread, a descriptor or a piece of shared memory is there that was not there before.

    What is in /dev/shm is not looked at, as nobody can tell who left it there: other tests kill processes, too. That a
    pool has no semaphore and no shared memory that it could leave is a test of its own.
    """
    before, memory = left_overs(), shared_memory(os.getpid())
    with marked() as mark:
        yield mark
        eventually(lambda: not processes(mark))
    eventually(lambda: not left_overs()["children"] - before["children"])
    after = left_overs()
    after["memory"], before["memory"] = shared_memory(os.getpid()), memory
    new = {kind: sorted(after[kind] - before[kind]) for kind in ("children", "descriptors", "memory", "threads")}
    assert not any(new.values()), f"left behind: {new}"


def footprint(pool: Pool) -> dict[str, Counter[str]]:
    """Return how much of each kind a running pool uses: the same after a fault as before it."""
    used = left_overs()
    kinds = Counter[str]()
    for descriptor, count in used["descriptors"].items():
        kinds[re.sub(r"\d+", "", descriptor.partition(" ")[2])] += count
    workers = Counter({"all": len(children(forkserver_pid(pool)))})
    return {"descriptors": kinds, "threads": used["threads"], "workers": workers}


@contextmanager
def whole_afterwards(pool: Pool) -> Iterator[None]:
    """Fail if the pool is not the same afterwards: all of its workers at work, and nothing else besides."""
    before = footprint(pool)
    yield
    assert_whole(pool)
    eventually(lambda: footprint(pool) == before)


def _all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # gone meanwhile, or somebody else's
        return b""
