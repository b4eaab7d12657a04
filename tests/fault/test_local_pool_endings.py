"""`close`, `terminate` and `join` return, whatever is pending and whatever calls have left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from support import fault_calls
from support.local_pools import forkserver_pid, processes, ready_pids, worker_pids
from support.processes import is_alive, stop
from support.waiting import eventually
from workd.errors import PoolClosedError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool

MANY = 100_000


# ── many pending calls ──


def test_terminate_with_100000_pending_calls_returns_within_2_s(make_pool: MakePool) -> None:
    pool = make_pool(2)
    results = [pool.apply_async(time.sleep, (60,)) for _ in range(MANY)]
    started, cpu_before_s = time.monotonic(), time.process_time()
    pool.terminate()
    pool.join()
    # What it takes by itself: on a machine that is busy with other tests the clock tells about those.
    assert min(time.process_time() - cpu_before_s, time.monotonic() - started) < 2
    assert time.monotonic() - started < 20
    assert all(result.ready() for result in results)
    for result in (results[0], results[-1]):
        with pytest.raises(PoolClosedError):
            result.get(0)


def test_close_and_join_with_100000_pending_calls_run_all_of_them(make_pool: MakePool) -> None:
    pool = make_pool(2)
    results = [pool.apply_async(fault_calls.double, (number,)) for number in range(MANY)]
    pool.close()
    pool.join()
    assert all(result.get(0) == 2 * number for number, result in enumerate(results))


# ── deaths at the end ──


def test_join_returns_while_the_last_calls_die(make_pool: MakePool) -> None:
    pool = make_pool(2)
    results = [pool.apply_async(fault_calls.exit_now, (3,)) for _ in range(20)]
    pool.close()
    pool.join()
    for result in results:
        with pytest.raises(WorkerDiedError):
            result.get(0)


def test_join_returns_when_every_process_is_killed_at_the_same_time(make_pool: MakePool, nothing_left: str) -> None:
    pool = make_pool(2)
    results = [pool.apply_async(time.sleep, (0.01,)) for _ in range(100)]
    pool.close()
    for pid in processes(nothing_left):
        os.kill(pid, signal.SIGKILL)
    pool.join()
    assert all(result.ready() for result in results)
    assert sum(not result.successful() for result in results) <= 2


@pytest.mark.parametrize("whom", ["workers", "forkserver", "everybody"])
def test_stopped_processes_do_not_hold_up_terminate(make_pool: MakePool, whom: str) -> None:
    pool = make_pool(2)
    result = pool.apply_async(time.sleep, (60,))
    victims = {"workers": ready_pids(pool), "forkserver": [forkserver_pid(pool)]}
    for pid in victims.get(whom, [*victims["workers"], *victims["forkserver"]]):
        stop(pid)
    started = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - started < 10
    assert result.ready()


def test_many_threads_may_end_a_pool_at_once(make_pool: MakePool) -> None:
    pool = make_pool(2)
    results = [pool.apply_async(time.sleep, (60,)) for _ in range(100)]

    def end() -> None:
        pool.close()
        pool.terminate()
        pool.join()

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert all(result.ready() for result in results)


# ── what calls leave behind ──


@pytest.mark.parametrize(
    "leave",
    [
        fault_calls.leave_thread,
        fault_calls.leave_child,
        fault_calls.leave_forked_child,
        fault_calls.leave_pipe,
        fault_calls.leave_busy_exit_handler,
    ],
)
@pytest.mark.parametrize("end", ["close", "terminate"])
def test_what_a_call_leaves_behind_does_not_hold_up_join_and_goes_with_the_worker(
    make_pool: MakePool, leave: Callable[[], object], end: str
) -> None:
    pool = make_pool(2)
    for result in [pool.apply_async(leave) for _ in range(4)]:
        result.get(20)
    assert pool.map(fault_calls.double, range(100), chunksize=1) == [2 * number for number in range(100)]
    getattr(pool, end)()
    pool.join()


def test_a_child_in_a_session_of_its_own_does_not_hold_up_join(make_pool: MakePool) -> None:
    """It holds every descriptor of its worker, the result channel included, and is the service manager's business."""
    pool = make_pool(2)
    child = pool.apply(fault_calls.leave_child_in_a_session_of_its_own)
    try:
        with pytest.raises(WorkerDiedError):
            pool.apply(fault_calls.kill_self, (signal.SIGKILL,))
        pool.close()
        pool.join()
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


# ── callbacks ──


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_costs_no_outcome(
    pool: Pool, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> NoReturn:
        raise kind("a mistake")

    results = [pool.apply_async(fault_calls.double, (number,), callback=fail) for number in range(3)]
    failed = pool.apply_async(fault_calls.exit_by_sys, (1,), error_callback=fail)
    mapped = pool.map_async(fault_calls.double, range(10), callback=fail)
    assert [result.get(20) for result in results] == [0, 2, 4]
    with pytest.raises(SystemExit):
        failed.get(20)
    assert mapped.get(20)[-1] == 18
    eventually(lambda: [record.message for record in caplog.records] == ["a callback of the pool raised"] * 5)


def test_a_callback_that_never_returns_holds_up_neither_the_workers_nor_terminate(make_pool: MakePool) -> None:
    pool, called, over = make_pool(2), threading.Event(), threading.Event()

    def wait(_: int) -> None:
        called.set()
        over.wait(60)

    stuck = pool.apply_async(fault_calls.double, (1,), callback=wait)
    assert called.wait(10)
    assert pool.map(fault_calls.double, range(100)) == [2 * number for number in range(100)]
    started = time.monotonic()
    pool.terminate()
    assert time.monotonic() - started < 10
    over.set()
    assert stuck.get(20) == 2


# ── programs ──


def test_an_interpreter_that_ends_with_a_busy_pool_ends(tmp_path: Path, nothing_left: str) -> None:
    import subprocess

    program = """
import time
from support import fault_calls
from workd import Pool
pool = Pool(2)
pool.map_async(time.sleep, [60] * 1000)
pool.apply_async(fault_calls.stop_self, ("/nowhere",))
raise SystemExit(7)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, timeout=30, check=False)
    assert done.returncode == 7
    eventually(lambda: not processes(nothing_left))


def test_the_pool_of_a_caller_that_is_interrupted_can_still_be_ended(make_pool: MakePool) -> None:
    pool = make_pool(2)
    result = pool.apply_async(time.sleep, (60,))
    timer = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        result.get()
    timer.join()
    assert len(worker_pids(pool)) == 2
    pool.terminate()
    pool.join()
    assert result.ready()
