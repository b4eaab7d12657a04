"""Workers of `workd.Pool` that do not start: backoff and no storm, a cause that is told, and no call that hangs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support import fault_calls
from support.fault_calls import FOREVER_S
from support.local_pools import begun, ready_pids
from support.processes import kill
from support.waiting import eventually
from workd.errors import BootError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault.conftest import MakePool
    from workd import Pool

CAUSE = "LookupError: the database is away"


@pytest.fixture
def switch(tmp_path: Path) -> Path:
    """A file; while it is there, workers do not start."""
    return tmp_path / "away"


def lose_workers(pool: Pool) -> None:
    for pid in ready_pids(pool):
        kill(pid)


# ── the first boot ──


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_an_initializer_that_always_raises_is_an_error_with_its_place(
    make_pool: MakePool, kind: type[BaseException]
) -> None:
    with pytest.raises(BootError, match=rf"{kind.__name__}: no database \(.*fault_calls\.py:\d+\)") as caught:
        make_pool(2, initializer=fault_calls.throw, initargs=(kind, "no database"))
    assert "in throw" in caught.value.traceback


@pytest.mark.parametrize("deed", [fault_calls.segfault, fault_calls.abort, fault_calls.close_everything])
def test_an_initializer_that_ends_its_worker_is_an_error(make_pool: MakePool, deed: Callable[[], None]) -> None:
    with pytest.raises(BootError, match="the worker died while it started"):
        make_pool(2, initializer=deed)


def test_an_initializer_that_hangs_is_an_error_after_its_time(make_pool: MakePool) -> None:
    with pytest.raises(BootError, match=r"it was not ready within 0\.5 s"):
        make_pool(2, initializer=time.sleep, initargs=(FOREVER_S,), boot_timeout=0.5)


def test_an_initializer_that_kills_the_forkserver_is_no_storm(make_pool: MakePool, nothing_left: str) -> None:
    try:
        pool = make_pool(2, initializer=fault_calls.kill_the_forkserver)
    except BootError:
        return
    assert pool.map(fault_calls.double, range(100)) == [2 * number for number in range(100)]
    assert pool.stats().started <= 4


# ── later boots ──


def test_boots_that_fail_back_off_and_are_told_and_end_with_their_cause(make_pool: MakePool, switch: Path) -> None:
    pool = make_pool(2, initializer=fault_calls.start_unless, initargs=(str(switch),))
    switch.touch()
    lose_workers(pool)
    began = time.monotonic()
    eventually(lambda: pool.stats().degraded, timeout_s=40)
    assert pool.stats().degraded.startswith(CAUSE)
    assert (pool.stats().size, pool.stats().ready) == (2, 0)
    waiting = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    eventually(lambda: pool.stats().boot_failures >= 6, timeout_s=40)
    assert time.monotonic() - began > 0.5  # 0.1 + 0.4 s for one slot; without a pause it were some 10 ms each
    assert not any(result.ready() for result in waiting)
    switch.unlink()
    assert [result.get(20) for result in waiting] == [2 * number for number in range(100)]
    assert pool.stats().degraded == ""


def test_calls_that_no_worker_can_be_started_for_fail_with_the_cause_instead_of_waiting(
    make_pool: MakePool, switch: Path
) -> None:
    pool = make_pool(2, initializer=fault_calls.start_unless, initargs=(str(switch),), boot_timeout=1.0)
    running = [pool.apply_async(time.sleep, (FOREVER_S,)) for _ in range(2)]
    waiting = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    switch.touch()
    eventually(lambda: pool.stats().busy == 2)
    lose_workers(pool)
    for lost in running:
        with pytest.raises((WorkerDiedError, BootError)):
            lost.get(20)
    for result in waiting:
        with pytest.raises(BootError, match=CAUSE) as caught:
            result.get(20)
        assert "fault_calls.py" in caught.value.traceback
    later = pool.apply_async(fault_calls.double, (1,))
    with pytest.raises(BootError, match=CAUSE):
        later.get(20)
    switch.unlink()
    eventually(lambda: pool.stats().ready == 2, timeout_s=40)
    assert pool.apply_async(fault_calls.double, (1,)).get(20) == 2


def test_calls_do_not_fail_while_one_worker_is_left(make_pool: MakePool, switch: Path, tmp_path: Path) -> None:
    pool = make_pool(2, initializer=fault_calls.start_unless, initargs=(str(switch),), boot_timeout=0.5)
    long = pool.apply_async(fault_calls.sleep_after_telling, (str(tmp_path), 2.0))
    (busy,) = begun(tmp_path)
    switch.touch()
    for pid in ready_pids(pool):
        if pid != busy:
            kill(pid)
    waiting = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    eventually(lambda: pool.stats().degraded, timeout_s=40)
    assert long.get(20) is None
    assert [result.get(20) for result in waiting] == [2 * number for number in range(100)]
    switch.unlink()


@pytest.mark.parametrize("end", ["terminate", "close"])
def test_a_pool_whose_workers_do_not_start_can_be_ended(make_pool: MakePool, switch: Path, end: str) -> None:
    pool = make_pool(2, initializer=fault_calls.start_unless, initargs=(str(switch),), boot_timeout=1.0)
    switch.touch()
    lose_workers(pool)
    eventually(lambda: pool.stats().degraded, timeout_s=40)
    results = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    getattr(pool, end)()
    pool.join()
    assert all(result.ready() and not result.successful() for result in results)
