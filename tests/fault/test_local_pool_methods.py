"""The same faults where workers are spawned or forked instead of made by a forkserver."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls
from support.fault_calls import FOREVER_S
from support.local_pools import FORKS, assert_whole, begun, forkserver_pid, ready_pids
from support.processes import kill, stop
from support.waiting import eventually
from workd import faultpoints
from workd.errors import BootError, JobTimeoutError, WorkerDiedError

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool
    from workd.pool.api.results import AsyncResult

pytestmark = FORKS

both = pytest.mark.parametrize("method", ["spawn", "fork"])

DOUBLED = [2 * number for number in range(100)]


@pytest.fixture
def pool(make_pool: MakePool, method: str) -> Pool:
    """A pool of two whose workers are made that way, and have loaded what the tests call."""
    pool = make_pool(2, context=multiprocessing.get_context(method))
    assert_whole(pool)
    return pool


@both
def test_deaths_cost_one_call_each(pool: Pool, tmp_path: Path) -> None:
    for pid in ready_pids(pool):
        kill(pid)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == DOUBLED
    doomed: list[AsyncResult[Any]] = [
        pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path),)),
        pool.apply_async(fault_calls.exit_now, (3,)),
        pool.apply_async(fault_calls.close_everything),
    ]
    (busy,) = begun(tmp_path)
    others = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    os.kill(busy, signal.SIGKILL)
    for result in doomed:
        with pytest.raises(WorkerDiedError):
            result.get(20)
    assert [result.get(20) for result in others] == DOUBLED


@both
def test_limits_and_stops_hold_up_nobody_else(pool: Pool, tmp_path: Path) -> None:
    late = pool.apply_async(fault_calls.sleep_in_c, (str(tmp_path),), timeout=0.5)
    begun(tmp_path)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == DOUBLED
    with pytest.raises(JobTimeoutError, match="in sleep_in_c"):
        late.get(20)
    eventually(lambda: pool.stats().ready == 2, timeout_s=40)
    stopped = ready_pids(pool)[0]
    stop(stopped)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == DOUBLED
    os.kill(stopped, signal.SIGCONT)


@both
def test_what_makes_the_workers_is_replaced(pool: Pool) -> None:
    first = forkserver_pid(pool)
    kill(first)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == DOUBLED
    eventually(lambda: forkserver_pid(pool) != first)
    for pid in ready_pids(pool):
        kill(pid)
    assert_whole(pool)
    pool.reload()
    assert pool.map(fault_calls.double, range(100), chunksize=1) == DOUBLED


@both
def test_an_initializer_that_raises_or_dies_is_an_error(make_pool: MakePool, method: str) -> None:
    context = multiprocessing.get_context(method)
    with pytest.raises(BootError, match="RuntimeError: no database"):
        make_pool(2, initializer=fault_calls.throw, initargs=(RuntimeError, "no database"), context=context)
    with pytest.raises(BootError, match="died"):
        make_pool(2, initializer=fault_calls.exit_now, initargs=(3,), context=context)


@pytest.mark.parametrize("point", ["worker_before_ready", "forkserver_after_fork", "forkserver_before_reap"])
def test_who_is_spawned_and_dies_at_a_point_is_replaced(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    marker = tmp_path / "set" / "sprung"
    monkeypatch.setenv(faultpoints.VARIABLE, f"{point}@{marker}")
    pool = make_pool(2, context=multiprocessing.get_context("spawn"))
    marker.parent.mkdir()
    with pytest.raises(WorkerDiedError):
        pool.apply_async(fault_calls.exit_now, (3,)).get(20)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == DOUBLED
    eventually(marker.exists)


@both
@pytest.mark.parametrize("end", ["terminate", "close"])
def test_a_pool_with_deaths_ends(pool: Pool, end: str) -> None:
    results: list[AsyncResult[Any]] = [pool.apply_async(fault_calls.exit_now, (3,)) for _ in range(6)]
    if end == "terminate":
        results.append(pool.apply_async(fault_calls.leave_thread))
        results.append(pool.apply_async(time.sleep, (FOREVER_S,)))
    started = time.monotonic()
    getattr(pool, end)()
    pool.join()
    assert time.monotonic() - started < 20
    assert all(result.ready() for result in results)
