"""A worker of `workd.Pool` dies, in every way there is: that call alone fails, and the pool is whole again."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls
from support.local_pools import begun, busy_pids, ready_pids, worker_pids
from support.processes import is_alive, kill
from support.waiting import eventually
from workd.errors import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool
    from workd.pool.api.results import AsyncResult

MIB = 2**20
MANY = range(100)
DOUBLED = [2 * number for number in MANY]


def test_idle_workers_that_are_killed_cost_nothing(pool: Pool) -> None:
    before = ready_pids(pool)
    for pid in before:
        kill(pid)
    assert pool.map(fault_calls.double, MANY) == DOUBLED
    eventually(lambda: len(ready_pids(pool)) == 2)
    assert not set(before) & set(ready_pids(pool))


def test_a_worker_that_is_killed_in_a_call_costs_that_call(pool: Pool, tmp_path: Path) -> None:
    doomed = pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path),))
    others = [pool.apply_async(fault_calls.double, (number,)) for number in MANY]
    (pid,) = begun(tmp_path)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="was killed by SIGKILL") as caught:
        doomed.get(20)
    assert caught.value.died.pid == pid
    assert [result.get(20) for result in others] == DOUBLED


ENDS: list[tuple[Callable[..., Any], tuple[Any, ...], tuple[int | None, str | None]]] = [
    (fault_calls.exit_now, (0,), (0, None)),
    (fault_calls.exit_now, (3,), (3, None)),
    (fault_calls.segfault, (), (None, "SIGSEGV")),
    (fault_calls.abort, (), (None, "SIGABRT")),
    (fault_calls.kill_self, (signal.SIGKILL,), (None, "SIGKILL")),
    (fault_calls.kill_self, (signal.SIGRTMAX - 1,), (None, f"signal {signal.SIGRTMAX - 1}")),
    (fault_calls.close_everything, (), (79, None)),
]


@pytest.mark.parametrize(("function", "arguments", "end"), ENDS)
def test_a_call_that_ends_its_worker_says_how_and_costs_no_neighbour(
    pool: Pool, function: Callable[..., Any], arguments: tuple[Any, ...], end: tuple[int | None, str | None]
) -> None:
    before = [pool.apply_async(fault_calls.double, (number,)) for number in MANY]
    doomed = pool.apply_async(function, arguments)
    after = [pool.apply_async(fault_calls.double, (number,)) for number in MANY]
    with pytest.raises(WorkerDiedError, match=f"^{function.__qualname__}: the worker with pid ") as caught:
        doomed.get(20)
    assert (caught.value.died.exit_code, caught.value.died.signal) == end
    assert [result.get(20) for result in before + after] == DOUBLED * 2


def test_a_death_is_data_and_ends_with_advice(pool: Pool) -> None:
    before = {worker.pid: worker.slot for worker in pool.stats().workers}
    with pytest.raises(WorkerDiedError) as caught:
        pool.apply_async(fault_calls.use_and_exit, (100 * MIB, 0.3, 5)).get(20)
    died = caught.value.died
    assert before[died.pid] == died.slot
    assert (died.status_known, died.exit_code, died.signal, died.oom) == (True, 5, None, False)
    assert died.ran_s is not None
    assert 0.3 <= died.ran_s < 20
    assert died.peak_rss_bytes is not None
    assert 100 * MIB < died.peak_rss_bytes < 500 * MIB
    assert str(caught.value).startswith(f"use_and_exit: the worker with pid {died.pid} in slot {died.slot} exited with")
    assert str(caught.value).endswith(
        "; look for an os._exit in the task or in a library: let it return or raise instead"
    )


def test_a_crash_in_c_code_says_in_which_line_of_python(pool: Pool) -> None:
    with pytest.raises(WorkerDiedError, match="look for a crash in C code") as caught:
        pool.apply_async(fault_calls.segfault).get(20)
    assert "fault_calls.py" in caught.value.died.stacks
    assert "in segfault" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [
        (fault_calls.exit_by_sys, (3,), SystemExit),
        (fault_calls.exit_by_sys, ("a reason",), SystemExit),
        (fault_calls.throw, (KeyboardInterrupt, "as if somebody had pressed Ctrl-C"), KeyboardInterrupt),
        (fault_calls.throw, (GeneratorExit,), GeneratorExit),
    ],
)
def test_an_exception_that_would_end_a_program_ends_the_call_and_not_the_worker(
    pool: Pool, function: Callable[..., Any], arguments: tuple[Any, ...], kind: type[BaseException]
) -> None:
    workers = worker_pids(pool)
    with pytest.raises(kind) as caught:
        pool.apply_async(function, arguments).get(20)
    assert f"in {function.__qualname__}" in str(caught.value.__cause__)
    assert worker_pids(pool) == workers


def test_a_call_that_forks_and_comes_back_twice_has_one_outcome(pool: Pool) -> None:
    workers = worker_pids(pool)
    child = pool.apply_async(fault_calls.fork_and_return).get(20)
    assert pool.map(fault_calls.double, MANY) == DOUBLED
    eventually(lambda: not is_alive(child))
    assert worker_pids(pool) == workers


def test_a_worker_that_is_killed_somewhere_in_a_large_result_costs_that_call(pool: Pool, tmp_path: Path) -> None:
    size = 50_000_000
    lost = 0
    for turn in range(6):
        doomed = pool.apply_async(fault_calls.large_after_telling, (str(tmp_path), size))
        (pid,) = begun(tmp_path)
        time.sleep(turn * 0.008)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        outcome = outcome_of(doomed)
        if isinstance(outcome, WorkerDiedError):
            lost += 1
            assert outcome.died.pid == pid
        else:
            assert outcome == bytes(size)
    assert lost > 0


def test_under_200_random_kills_while_8_workers_write_every_call_that_was_not_killed_completes(
    make_pool: MakePool,
) -> None:
    pool, dice, size = make_pool(8), random.Random(66587), 1_000_000
    killed: list[int] = []
    lost: list[int] = []
    pending = [pool.apply_async(fault_calls.large, (size,)) for _ in range(32)]
    while pending:
        for _ in range(2 if len(killed) < 200 else 0):
            if victims := busy_pids(pool):
                victim = dice.choice(victims)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)
        outcome = outcome_of(pending.pop(0))
        if isinstance(outcome, WorkerDiedError):
            lost.append(outcome.died.pid)
        else:
            assert outcome == bytes(size)
        if len(killed) < 200:
            pending.append(pool.apply_async(fault_calls.large, (size,)))
    assert set(lost) <= set(killed)
    assert len(lost) == len(set(lost)), "one death was charged to two calls"
    assert lost


def outcome_of(result: AsyncResult[Any]) -> Any:
    """Return the value, or the error that the worker's death is."""
    try:
        return result.get(30)
    except WorkerDiedError as error:
        return error
