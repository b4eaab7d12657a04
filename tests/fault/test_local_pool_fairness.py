"""No call of `workd.Pool` waits behind a slow one while a worker is free, whatever becomes of the slow one."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from support import fault_calls
from support.local_pools import begun, ready_pids
from support.processes import is_alive, kill, stop
from support.waiting import eventually
from workd.errors import WorkerDiedError

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import MakePool
    from support.fault_calls import Run
    from workd import Pool
    from workd.pool.api.results import AsyncResult

SHORT_S, LONG_S, SHORT_ONES = 0.001, 2.0, 1000
PAUSE_S = 0.02


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    """A pool of two that knows how quick the short calls are, and so has deep buffers for them."""
    pool = make_pool(2)
    pool.map(fault_calls.timed_sleep, [SHORT_S] * 40, chunksize=1)
    return pool


@pytest.mark.parametrize("place", [0, SHORT_ONES // 2, SHORT_ONES])
def test_one_slow_call_among_many_short_ones_holds_up_none_of_them(pool: Pool, place: int) -> None:
    """The two workers spend on short calls what the long one leaves of their time, but for a tenth.

    Where the long call comes last, that is: all short ones end within their own total / 2 plus 10 %. Where it comes
    earlier, one worker is left for them while it runs. All of it is measured: how long each call took, by its own
    clock, so that a noisy machine makes the bound longer as it makes the calls longer.
    """
    lengths = [SHORT_S] * SHORT_ONES
    lengths.insert(place, LONG_S)
    results = [pool.apply_async(fault_calls.timed_sleep, (length,)) for length in lengths]
    runs = [result.get(60) for result in results]
    long = runs.pop(place)
    began, ended = min(run.began for run in runs), max(run.ended for run in runs)
    own_s = sum(run.ended - run.began for run in runs) + gaps_s(runs)
    taken_by_the_long_one_s = max(0.0, min(long.ended, ended) - max(long.began, began))
    left_for_the_short_ones_s = 2 * (ended - began) - taken_by_the_long_one_s
    assert left_for_the_short_ones_s <= own_s * 1.1


def gaps_s(runs: list[Run]) -> float:
    """Return what the workers needed to get from one call to the next: that part of a call which its clock misses.

    A longer pause is none of that: the worker had nothing to do, while others had.
    """
    in_order = sorted(runs, key=attrgetter("pid", "began"))
    gaps = [later.began - run.ended for run, later in pairwise(in_order) if run.pid == later.pid]
    return sum(gap for gap in gaps if gap < PAUSE_S)


def test_calls_behind_a_slow_one_that_is_stopped_or_killed_run_elsewhere(pool: Pool, tmp_path: Path) -> None:
    slow = pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path),))
    others = [pool.apply_async(fault_calls.timed_sleep, (SHORT_S,)) for _ in range(200)]
    (pid,) = begun(tmp_path)
    stop(pid)
    for result in others:
        result.get(20)
    more = [pool.apply_async(fault_calls.timed_sleep, (SHORT_S,)) for _ in range(200)]
    os.kill(pid, signal.SIGKILL)
    for result in more:
        result.get(20)
    with pytest.raises(WorkerDiedError):
        slow.get(20)


@pytest.mark.parametrize("turn", range(6))
def test_a_worker_that_is_stopped_at_any_moment_holds_up_one_call_at_most(pool: Pool, turn: int) -> None:
    results = [pool.apply_async(fault_calls.timed_sleep, (SHORT_S,)) for _ in range(300)]
    eventually(lambda: sum(result.ready() for result in results) >= turn * 40)
    victim = ready_pids(pool)[turn % 2]
    stop(victim)
    eventually(lambda: sum(result.ready() for result in results) >= 299, timeout_s=40)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == [2 * number for number in range(100)]
    if turn % 3:
        os.kill(victim, signal.SIGCONT)
    else:
        kill(victim)
    deaths = [error for result in results if (error := death_of(result)) is not None]
    assert [error.died.pid for error in deaths] in ([], [victim])
    assert is_alive(victim) == bool(turn % 3)


def death_of(result: AsyncResult[object]) -> WorkerDiedError | None:
    try:
        result.get(20)
    except WorkerDiedError as error:
        return error
    return None
