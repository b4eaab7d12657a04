"""Timeouts of calls to `workd.Pool` fire whatever the worker does, and hit nobody else."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls, fault_objects
from support.fault_calls import FOREVER_S, MeetsTimeout
from support.local_pools import begun, processes, worker_pids
from support.processes import is_alive, stop
from support.waiting import eventually
from workd.errors import CallCancelledError, JobTimeoutError, WorkerDiedError
from workd_tasks.errors import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool

SOFT_S = 3.0  # in which a busy machine comes to stop a worker

# ── hard ──


@pytest.mark.parametrize("busy", fault_calls.BUSY)
def test_a_timeout_fires_whatever_the_worker_does_and_says_where_it_was(
    pool: Pool, tmp_path: Path, busy: Callable[[str], object]
) -> None:
    began = time.monotonic()
    doomed = pool.apply_async(busy, (str(tmp_path),), timeout=2.0)
    others = [pool.apply_async(fault_calls.double, (number,)) for number in range(200)]
    with pytest.raises(JobTimeoutError, match=f"^{busy.__name__}: stopped after its timeout of 2 s") as caught:
        doomed.get(20)
    assert time.monotonic() - began >= 2.0
    assert [result.get(20) for result in others] == [2 * number for number in range(200)]
    if busy is fault_calls.stop_self:
        assert caught.value.stacks == ""  # who is stopped can't say anything
    else:
        assert f'fault_calls.py", line {line_of(busy, caught.value.stacks)} in {busy.__name__}' in str(caught.value)
        assert "/workd/pool/" not in caught.value.stacks


def line_of(function: Callable[..., object], stacks: str) -> int:
    """Return the line at which the stacks show the function, which must be one of its own."""
    (line,) = (line for line in stacks.splitlines() if line.endswith(f" in {function.__name__}"))
    number = int(line.split("line ")[1].split()[0])
    first = function.__code__.co_firstlineno
    assert first < number < first + 10
    return number


def test_the_time_counts_from_the_start_of_a_call_and_not_from_its_submission(make_pool: MakePool) -> None:
    pool = make_pool(1)
    results = [pool.apply_async(time.sleep, (0.8,), timeout=3.0) for _ in range(5)]
    assert [result.get(20) for result in results] == [None] * 5


def test_a_call_that_hangs_while_it_is_unpickled_is_out_of_time_too(pool: Pool) -> None:
    with pytest.raises(JobTimeoutError):
        pool.apply_async(fault_calls.length, (fault_objects.HangsWhenUnpickled(),), timeout=0.3).get(20)


def test_a_call_whose_value_hangs_while_it_is_pickled_is_out_of_time_too(pool: Pool) -> None:
    with pytest.raises(JobTimeoutError, match="in __reduce__"):
        pool.apply_async(fault_calls.make, (fault_objects.HangsWhenPickled,), timeout=2.0).get(20)


def test_children_of_a_call_go_with_it(make_pool: MakePool, nothing_left: str, tmp_path: Path) -> None:
    pool = make_pool(1)
    doomed = pool.apply_async(fault_calls.start_children_and_sleep, (str(tmp_path),), timeout=5.0)
    begun(tmp_path)
    assert len(processes(nothing_left)) == 5  # forkserver, worker, a child, a forked one, and the one that left
    outsider = int((tmp_path / "outsider").read_text())
    with pytest.raises(JobTimeoutError):
        doomed.get(20)
    eventually(lambda: len(processes(nothing_left)) == 3)
    assert is_alive(outsider)  # it left the session: the service manager's business, who knows the cgroup
    os.kill(outsider, signal.SIGKILL)


def test_many_timeouts_at_once_cost_nobody_else(pool: Pool) -> None:
    doomed = [pool.apply_async(time.sleep, (FOREVER_S,), timeout=0.2) for _ in range(6)]
    others = [pool.apply_async(fault_calls.double, (number,)) for number in range(200)]
    for result in doomed:
        with pytest.raises(JobTimeoutError):
            result.get(20)
    assert [result.get(20) for result in others] == [2 * number for number in range(200)]


def test_a_worker_that_dies_before_its_time_is_over_is_a_death_and_no_timeout(pool: Pool) -> None:
    with pytest.raises(WorkerDiedError, match="exited with code 3"):
        pool.apply_async(fault_calls.exit_now, (3,), timeout=5).get(20)


def test_a_call_on_a_stopped_worker_can_be_cancelled(pool: Pool, tmp_path: Path) -> None:
    result = pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path),))
    (pid,) = begun(tmp_path)
    stop(pid)
    assert result.cancel()
    with pytest.raises(CallCancelledError):
        result.get(20)
    eventually(lambda: pid not in worker_pids(pool))


# ── soft ──


def test_a_soft_timeout_is_raised_in_the_call_and_its_worker_goes_on(pool: Pool) -> None:
    before = worker_pids(pool)
    with pytest.raises(SoftTimeout) as caught:
        pool.apply_async(time.sleep, (FOREVER_S,), soft_timeout=0.1).get(20)
    assert "SoftTimeout" in str(caught.value.__cause__)
    assert pool.apply_async(fault_calls.clean_up_in_time, (), soft_timeout=1.0).get(20) == "cleaned up"
    assert pool.apply_async(fault_calls.spin, (FOREVER_S, MeetsTimeout.RETURNS), soft_timeout=1.0).get(20) == "timeout"
    assert worker_pids(pool) == before


def test_a_call_that_swallows_the_soft_timeout_is_killed_by_the_hard_one(pool: Pool) -> None:
    with pytest.raises(JobTimeoutError, match="in swallow_everything"):
        pool.apply_async(fault_calls.swallow_everything, (), soft_timeout=0.1, timeout=2.0).get(20)


def test_c_code_that_holds_the_interpreter_hears_no_soft_timeout_but_ends_by_the_hard_one(
    pool: Pool, tmp_path: Path
) -> None:
    with pytest.raises(JobTimeoutError, match="in spin_in_c"):
        pool.apply_async(fault_calls.spin_in_c, (str(tmp_path),), soft_timeout=0.1, timeout=2.0).get(20)


def test_a_soft_timeout_does_not_hit_what_comes_after_the_function(pool: Pool) -> None:
    """It has returned: its value is on its way, however long that takes to pickle."""
    results = [pool.apply_async(fault_calls.make, (fault_objects.SlowToPickle,), soft_timeout=0.1) for _ in range(2)]
    assert [result.get(20) for result in results] == ["pickled"] * 2


def test_soft_timeouts_that_come_when_the_call_ends_never_hit_the_next_one(pool: Pool) -> None:
    """Each call that may be hit is followed by ones that may not, in the same worker's buffer and in any state."""
    before = worker_pids(pool)
    followers: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
        (fault_calls.spin, (0.001, MeetsTimeout.PASSES), "done"),
        (fault_calls.double, (4,), 8),
        (fault_calls.make, (list, "ab"), ["a", "b"]),
        (time.sleep, (0.001,), None),
    ]
    hit, expected = [], []
    for number in range(300):
        length_s = 0.002 + (number % 30) * 0.0002
        how = MeetsTimeout.RETURNS if number % 2 else MeetsTimeout.PASSES
        hit.append(pool.apply_async(fault_calls.spin, (length_s, how), soft_timeout=0.005))
        function, arguments, value = followers[number % len(followers)]
        long_s = 60.0 if number % 3 == 0 else None
        expected.append((pool.apply_async(function, arguments, soft_timeout=long_s), value))
    outcomes = [outcome_of(result) for result in hit]
    assert set(outcomes) <= {"done", "timeout", SoftTimeout}
    assert len(set(outcomes)) > 1, "the moments were not met: all or none of the calls were hit"
    assert [result.get(20) for result, _ in expected] == [value for _, value in expected]
    assert worker_pids(pool) == before


def test_a_soft_timeout_that_comes_while_the_worker_is_stopped_hits_that_call_alone(pool: Pool, tmp_path: Path) -> None:
    doomed = pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path),), soft_timeout=SOFT_S)
    (pid,) = begun(tmp_path)
    began = time.monotonic()
    stop(pid)
    behind = [pool.apply_async(fault_calls.double, (number,)) for number in range(50)]
    assert [result.get(20) for result in behind] == [2 * number for number in range(50)]
    time.sleep(max(0.0, began + SOFT_S + 0.2 - time.monotonic()))  # its time is over then
    assert not doomed.ready()
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(SoftTimeout):
        doomed.get(20)
    assert pid in worker_pids(pool)


def outcome_of(result: Any) -> object:
    try:
        return result.get(20)
    except SoftTimeout:
        return SoftTimeout
