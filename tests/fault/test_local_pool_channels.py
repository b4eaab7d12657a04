"""The supervisor of `workd.Pool` never blocks on a worker's channel, and workers share nothing that can stick."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import fault_calls
from support.local_pools import FORKS, begun, forkserver_pid, ready_pids, shared_memory
from support.processes import stop

if TYPE_CHECKING:
    from fault.conftest import MakePool
    from workd import Pool

SIZE = 50_000_000


# ── a stopped worker ──


def test_a_worker_that_is_stopped_in_a_50_mb_result_holds_up_nobody_else(pool: Pool, tmp_path: Path) -> None:
    for turn in range(4):
        result = pool.apply_async(fault_calls.large_after_telling, (str(tmp_path), SIZE))
        (pid,) = begun(tmp_path)
        time.sleep(0.005 * turn)  # from before the first byte to somewhere in the middle
        stop(pid)
        assert pool.map(fault_calls.double, range(200), chunksize=1) == [2 * number for number in range(200)]
        assert pool.stats().size == 2
        os.kill(pid, signal.SIGCONT)
        assert result.get(20) == bytes(SIZE)


def test_a_full_job_pipe_holds_up_nobody_else(pool: Pool) -> None:
    body = bytes(60_000)
    pool.map(fault_calls.length, [body] * 40, chunksize=1)  # so that the pool expects such calls to be quick
    stopped = ready_pids(pool)[0]
    stop(stopped)
    results = [pool.apply_async(fault_calls.length, (body,)) for _ in range(300)]
    assert pool.map(fault_calls.double, range(200), chunksize=1) == [2 * number for number in range(200)]
    assert [result.get(20) for result in results] == [len(body)] * 300
    os.kill(stopped, signal.SIGCONT)


def test_while_all_workers_are_stopped_the_pool_waits_and_answers(pool: Pool) -> None:
    body = bytes(60_000)
    pool.map(fault_calls.length, [body] * 40, chunksize=1)
    workers = ready_pids(pool)
    for pid in workers:
        stop(pid)
    results = [pool.apply_async(fault_calls.length, (body,)) for _ in range(300)]
    for _ in range(20):
        stats = pool.stats()
        assert stats.waiting + stats.running == 300
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert [result.get(20) for result in results] == [len(body)] * 300


def test_terminate_does_not_wait_for_stopped_workers_with_full_pipes(make_pool: MakePool) -> None:
    pool = make_pool(2)
    pool.map(fault_calls.length, [bytes(60_000)] * 40, chunksize=1)
    for pid in ready_pids(pool):
        stop(pid)
    for _ in range(300):
        pool.apply_async(fault_calls.length, (bytes(60_000),))
    started = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - started < 10


# ── nothing is shared ──

CAN_STICK = re.compile(r"^(?:pipe|socket):\[\d+\]$|^/memfd:|^/dev/shm/|^/dev/mqueue/")


@FORKS
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_two_workers_share_no_pipe_no_socket_and_no_memory_but_the_lifeline(make_pool: MakePool, method: str) -> None:
    inherited = held("self")
    pool = make_pool(3, context=multiprocessing.get_context(method))
    pool.map(fault_calls.double, range(300), chunksize=1)
    first, second, third = map(held, ready_pids(pool))
    shared = ((first & second) | (first & third) | (second & third)) - inherited
    assert len(shared) == 1, "more than the lifeline"
    assert shared <= held(forkserver_pid(pool))
    assert next(iter(shared)).startswith("pipe:")


def test_a_pool_at_work_has_no_semaphore_and_no_shared_memory(pool: Pool, tmp_path: Path) -> None:
    before = shared_memory(os.getpid())
    results = [pool.apply_async(fault_calls.length, (bytes(1_000_000),)) for _ in range(20)]
    results += [pool.apply_async(fault_calls.double, (number,), soft_timeout=60.0) for number in range(100)]
    pool.apply_async(fault_calls.large, (5_000_000,), timeout=60.0, memory_limit=2**32).get(20)
    pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path),))
    (busy,) = begun(tmp_path)
    for pid in (forkserver_pid(pool), *ready_pids(pool)):
        assert not shared_memory(pid)
    assert shared_memory(os.getpid()) == before
    os.kill(busy, signal.SIGKILL)
    for result in results:
        result.get(20)


def held(pid: int | str) -> set[str]:
    """Return the pipes, sockets and pieces of memory that a process has open or mapped, by name and inode."""
    found = set()
    for path in list(Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):  # the listing's own
            found.add((str(path.readlink()), path.stat().st_ino))
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found.add((line[73:], int(line.split()[4])))
    return {f"{name} {inode}" for name, inode in found if CAN_STICK.match(name)}
