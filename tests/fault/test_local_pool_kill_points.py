"""Workers and forkserver die, or are stopped, at each step of the way of a call: random kills do not hit 10 µs."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support import fault_calls
from support.local_pools import assert_whole, forkserver_pid, processes, ready_pids, worker_pids
from support.processes import is_stopped
from support.waiting import eventually
from workd import faultpoints
from workd.errors import BootError, JobTimeoutError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool
    from workd.pool.api.results import AsyncResult

CALLS = 400

AROUND_A_CALL = [
    ("before_claim", 0),
    ("after_claim", 1),
    ("before_result", 1),
    ("mid_result", 1),
    ("after_result", 0),
]
"""The points on the way of a call through a worker, and how many calls a death there costs."""


@dataclass(frozen=True, slots=True)
class Trap:
    """A point at which one process dies or is stopped, once, after `set`."""

    marker: Path

    def set(self) -> None:
        self.marker.parent.mkdir()

    @property
    def sprung(self) -> bool:
        return self.marker.exists()


@pytest.fixture
def trap(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    """The trap at the point that the test is given as `point`, with the signal given as `by`."""
    trap = Trap(tmp_path / "set" / "sprung")
    place = request.getfixturevalue("point")
    by = request.getfixturevalue("by") if "by" in request.fixturenames else "SIGKILL"
    monkeypatch.setenv(faultpoints.VARIABLE, f"{place}={by}@{trap.marker}")
    return trap


@pytest.fixture
def pool(trap: Trap, make_pool: MakePool) -> Pool:
    """A pool of two whose processes know the trap and have learnt how quick the calls are."""
    pool = make_pool(2)
    pool.map(fault_calls.double, range(50), chunksize=1)
    return pool


# ── a call in a worker ──


@pytest.mark.parametrize(("point", "costs"), AROUND_A_CALL)
def test_a_worker_that_dies_there_costs_that_call_at_most(pool: Pool, trap: Trap, point: str, costs: int) -> None:
    trap.set()
    results = [pool.apply_async(fault_calls.double, (number,)) for number in range(CALLS)]
    lost = list(failures(results))
    assert trap.sprung
    assert [error.died.signal for error in lost] == ["SIGKILL"] * costs


@pytest.mark.parametrize("point", ["mid_result"])
def test_half_of_a_50_mb_result_is_no_result(pool: Pool, trap: Trap, point: str) -> None:
    trap.set()
    results = [pool.apply_async(fault_calls.large, (50_000_000,)) for _ in range(2)]
    others = [pool.apply_async(fault_calls.double, (number,)) for number in range(CALLS)]
    assert [result.get(20) for result in others] == [2 * number for number in range(CALLS)]
    outcomes = [outcome(result) for result in results]
    assert [type(value) for value in outcomes].count(WorkerDiedError) == 1
    assert bytes(50_000_000) in outcomes
    assert trap.sprung


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
@pytest.mark.parametrize("by", ["SIGSTOP"])
@pytest.mark.parametrize(("point", "holds"), AROUND_A_CALL)
def test_a_worker_that_is_stopped_there_holds_up_that_call_at_most(
    pool: Pool, trap: Trap, point: str, holds: int, by: str, end: signal.Signals
) -> None:
    trap.set()
    results = [pool.apply_async(fault_calls.double, (number,)) for number in range(CALLS)]
    stopped = eventually(lambda: next(filter(is_stopped, worker_pids(pool)), 0))
    eventually(lambda: sum(result.ready() for result in results) == CALLS - holds, timeout_s=40)
    os.kill(stopped, end)
    lost = list(failures(results))
    assert [error.died.pid for error in lost] == [stopped] * (holds if end == signal.SIGKILL else 0)


@pytest.mark.parametrize("by", ["SIGSTOP"])
@pytest.mark.parametrize("point", ["after_claim", "mid_result"])
def test_a_stopped_worker_does_not_hold_up_terminate(pool: Pool, trap: Trap, point: str, by: str) -> None:
    trap.set()
    held = pool.apply_async(fault_calls.large, (50_000_000,))
    eventually(lambda: any(is_stopped(pid) for pid in worker_pids(pool)))
    pool.terminate()
    pool.join()
    assert held.ready()


@pytest.mark.parametrize("by", ["SIGSTOP"])
@pytest.mark.parametrize("point", ["after_claim", "mid_result"])
def test_a_stopped_worker_is_out_of_time_as_any_other(pool: Pool, trap: Trap, point: str, by: str) -> None:
    trap.set()
    with pytest.raises(JobTimeoutError):
        pool.apply_async(fault_calls.large, (50_000_000,), timeout=0.5).get(20)
    assert trap.sprung


# ── boots ──

WHILE_IT_BOOTS = ["worker_born", "worker_armed", "worker_before_ready", "worker_after_ready"]


@pytest.mark.parametrize("point", WHILE_IT_BOOTS)
def test_a_new_worker_that_dies_while_it_boots_is_followed_by_another(pool: Pool, trap: Trap, point: str) -> None:
    trap.set()
    lose_a_worker(pool)
    assert pool.map(fault_calls.double, range(CALLS), chunksize=1) == [2 * number for number in range(CALLS)]
    eventually(lambda: trap.sprung)


@pytest.mark.parametrize("by", ["SIGSTOP"])
@pytest.mark.parametrize("point", WHILE_IT_BOOTS)
def test_a_new_worker_that_is_stopped_while_it_boots_holds_nobody_up(
    pool: Pool, trap: Trap, point: str, by: str
) -> None:
    trap.set()
    lose_a_worker(pool)
    stopped = eventually(lambda: next(filter(is_stopped, worker_pids(pool)), 0))
    assert pool.map(fault_calls.double, range(CALLS), chunksize=1) == [2 * number for number in range(CALLS)]
    os.kill(stopped, signal.SIGCONT)


@pytest.mark.parametrize("point", ["worker_born", "worker_armed", "worker_before_ready", "forkserver_before_load"])
def test_deaths_in_the_first_boot_are_a_boot_error(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv(faultpoints.VARIABLE, point)
    with pytest.raises(BootError, match=r"died|killed"):
        make_pool(2)


# ── the forkserver ──

IN_THE_FORKSERVER = [
    "forkserver_before_fork",
    "forkserver_after_fork",
    "forkserver_after_answer",
    "forkserver_before_reap",
    "forkserver_after_reap",
]


@pytest.mark.parametrize("point", IN_THE_FORKSERVER)
def test_a_forkserver_that_dies_there_is_replaced_and_no_worker_is_forgotten(
    pool: Pool, trap: Trap, nothing_left: str, point: str
) -> None:
    first = forkserver_pid(pool)
    trap.set()
    lose_a_worker(pool)
    assert pool.map(fault_calls.double, range(CALLS), chunksize=1) == [2 * number for number in range(CALLS)]
    eventually(lambda: trap.sprung and forkserver_pid(pool) != first)
    assert_whole(pool)
    eventually(lambda: set(processes(nothing_left)) == {forkserver_pid(pool), *ready_pids(pool)})


@pytest.mark.parametrize("point", ["forkserver_before_load", "forkserver_after_load"])
def test_a_new_forkserver_that_dies_while_it_loads_is_followed_by_another(
    pool: Pool, trap: Trap, nothing_left: str, point: str
) -> None:
    trap.set()
    os.kill(forkserver_pid(pool), signal.SIGKILL)
    eventually(lambda: trap.sprung)
    lose_a_worker(pool)
    assert_whole(pool)
    eventually(lambda: set(processes(nothing_left)) == {forkserver_pid(pool), *ready_pids(pool)})


@pytest.mark.parametrize("by", ["SIGSTOP"])
@pytest.mark.parametrize("point", IN_THE_FORKSERVER)
def test_a_forkserver_that_is_stopped_there_holds_up_neither_calls_nor_terminate(
    pool: Pool, trap: Trap, monkeypatch: pytest.MonkeyPatch, point: str, by: str
) -> None:
    monkeypatch.setattr("workd.pool.boots.REAP_PATIENCE_S", 0.5)
    trap.set()
    lose_a_worker(pool)
    eventually(lambda: is_stopped(forkserver_pid(pool)))
    assert pool.map(fault_calls.double, range(CALLS), chunksize=1) == [2 * number for number in range(CALLS)]
    pool.terminate()
    pool.join()


def lose_a_worker(pool: Pool) -> None:
    """Have a worker killed in a call, and wait for the news."""
    result = pool.apply_async(fault_calls.kill_self, (signal.SIGKILL,))
    assert isinstance(outcome(result), WorkerDiedError)


def outcome(result: AsyncResult[object]) -> object:
    """Return what a call returned, or the error that its worker's death is."""
    try:
        return result.get(20)
    except WorkerDiedError as error:
        return error


def failures(results: list[AsyncResult[int]]) -> Iterator[WorkerDiedError]:
    """Yield the deaths among the outcomes of `double(0)`, `double(1)` …; all others must be right."""
    for number, result in enumerate(results):
        value = outcome(result)
        if isinstance(value, WorkerDiedError):
            yield value
        else:
            assert value == 2 * number
