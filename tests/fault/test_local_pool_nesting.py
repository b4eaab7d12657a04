"""Pools in pools, pools in children, pools in threads, and scripts that make pools by mistake."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls, fault_pools
from support.local_pools import FORKS, begun, processes, ready_pids
from support.waiting import eventually
from workd import Pool
from workd.errors import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fault.conftest import MakePool

TOTAL = sum(2 * number for number in range(100))


# ── pools in calls ──


@pytest.mark.parametrize(
    "function",
    [fault_pools.total_by_a_workd_pool, fault_pools.total_by_a_standard_pool, fault_pools.total_by_a_pool_in_a_pool],
)
def test_a_call_may_have_a_pool_of_its_own(pool: Pool, function: Callable[[int], int]) -> None:
    assert pool.map(function, [100, 100, 100], chunksize=1) == [TOTAL] * 3


def test_a_call_can_end_the_children_that_it_started(pool: Pool) -> None:
    assert pool.apply_async(fault_pools.terminate_a_child).get(20) == -signal.SIGTERM
    assert pool.apply_async(fault_pools.leave_a_busy_standard_pool).get(20) == "left"


def test_a_pool_in_a_call_goes_with_its_worker(make_pool: MakePool, nothing_left: str, tmp_path: Path) -> None:
    pool = make_pool(1)
    doomed = pool.apply_async(fault_pools.hold_a_pool, (str(tmp_path),))
    begun(tmp_path, calls=2)
    assert len(processes(nothing_left)) == 5  # ours, and the inner pool's three
    (worker,) = ready_pids(pool)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        doomed.get(20)
    eventually(lambda: len(processes(nothing_left)) == 2)


# ── pools in children ──


@pytest.fixture
def no_tracker(nothing_left: str) -> Iterator[None]:
    """Processes that the standard library spawns leave its resource tracker behind: that one is not ours."""
    yield
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@FORKS
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("daemon", [False, True])
def test_a_child_may_have_a_pool(no_tracker: None, method: str, daemon: bool) -> None:
    context: Any = multiprocessing.get_context(method)
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=fault_pools.send_total, args=(sending,), daemon=daemon)
    child.start()
    assert receiving.poll(30)
    assert receiving.recv() == TOTAL
    child.join(20)
    assert child.exitcode == 0
    child.close()
    for connection in (receiving, sending):
        connection.close()


def test_a_child_that_is_killed_takes_its_pool_along(nothing_left: str, no_tracker: None, tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=fault_pools.hold_a_pool, args=(str(tmp_path),))
    child.start()
    begun(tmp_path, calls=2)
    child.kill()
    child.join(10)
    child.close()
    eventually(lambda: len(processes(nothing_left)) == 1, timeout_s=10)  # the tracker


@FORKS
def test_a_forked_copy_of_the_program_can_not_use_its_pool_and_does_not_disturb_it(pool: Pool) -> None:
    workers = ready_pids(pool)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        status = 1
        try:
            try:
                pool.apply_async(fault_calls.double, (1,)).get(20)
            except ValueError as error:
                os.write(writing, str(error).encode())
                status = 0
            pool.terminate()
            pool.join()
        finally:
            os._exit(status)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert os.read(reading, 1000) == b"Pool not running"
    os.close(reading)
    assert pool.map(fault_calls.double, range(100)) == [2 * number for number in range(100)]
    assert ready_pids(pool) == workers


# ── threads ──


def test_a_pool_outlives_the_thread_that_made_it(nothing_left: str) -> None:
    pools: list[Pool] = []
    making = threading.Thread(target=lambda: pools.append(Pool(2)))
    making.start()
    making.join()
    assert pools[0].map(fault_calls.double, range(100)) == [2 * number for number in range(100)]
    pools[0].terminate()
    pools[0].join()


def test_many_threads_share_a_pool_while_its_workers_die(pool: Pool) -> None:
    outcomes: list[int] = []
    deaths: list[WorkerDiedError] = []

    def work(number: int) -> None:
        for turn in range(30):
            outcomes.append(pool.apply(fault_calls.double, (turn,)) - 2 * turn)
            if turn == number:
                try:
                    pool.apply(fault_calls.exit_now, (3,))
                except WorkerDiedError as error:
                    deaths.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [0] * 240
    assert [error.died.exit_code for error in deaths] == [3] * 8


def test_a_pool_is_made_while_other_threads_hold_locks_and_fork(nothing_left: str) -> None:
    """A worker is no copy of this process, so no lock that a thread holds here is stuck there."""
    lock, over = threading.Lock(), threading.Event()

    def hold() -> None:
        while not over.is_set():
            with lock:
                subprocess.run([sys.executable, "-c", ""], check=True)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        for _ in range(3):
            with Pool(2) as pool:
                assert pool.map(fault_calls.double, range(50)) == [2 * number for number in range(50)]
    finally:
        over.set()
        thread.join()


# ── mistakes ──

NO_GUARD = """
from support.fault_calls import double
from workd import Pool

with open("starts", "a") as file:
    file.write("x")
{deed}
"""


@pytest.mark.parametrize(
    "deed",
    [
        "pool = Pool(2)",
        "print(Pool(2).map(double, range(10)))",
        "import threading; thread = threading.Thread(target=Pool); thread.start(); thread.join()",
        "import multiprocessing; Pool(2, context=multiprocessing.get_context('spawn'))",
    ],
)
def test_a_script_without_the_main_guard_is_no_fork_bomb(nothing_left: str, tmp_path: Path, deed: str) -> None:
    (tmp_path / "script.py").write_text(NO_GUARD.format(deed=deed))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 'put that under if __name__ == "__main__":' in done.stderr
    assert len((tmp_path / "starts").read_text()) <= 3  # the script, and one import for each worker at most
