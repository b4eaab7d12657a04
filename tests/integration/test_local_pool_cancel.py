"""`workd.Pool`: cancelling calls, and the futures of `submit`."""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.calls import Refusing, die, fail, pid, sleep, square, touch, touch_and_wait
from support.waiting import eventually
from workd import Pool
from workd.errors import CallCancelledError, PoolClosedError, WorkerDiedError


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1) as pool:
        yield pool


# ── results ──


def test_a_running_call_is_killed(pool: Pool, tmp_path: Path) -> None:
    first = pool.apply(pid)
    errors: list[BaseException] = []
    arguments = (str(tmp_path / "started"), str(tmp_path / "never"))
    result = pool.apply_async(touch_and_wait, arguments, error_callback=errors.append)
    eventually((tmp_path / "started").exists)
    assert result.cancel()
    with pytest.raises(CallCancelledError, match="touch_and_wait: cancelled"):
        result.get(20)
    assert [type(error) for error in errors] == [CallCancelledError]
    assert not result.successful()
    assert pool.apply_async(pid).get(20) != first


def test_a_queued_call_never_runs_and_what_runs_goes_on(pool: Pool, tmp_path: Path) -> None:
    running = pool.apply_async(touch_and_wait, (str(tmp_path / "started"), str(tmp_path / "go")))
    queued = [pool.apply_async(touch, (str(tmp_path / f"{number}"),)) for number in range(3)]
    eventually((tmp_path / "started").exists)
    assert queued[1].cancel()
    with pytest.raises(CallCancelledError):
        queued[1].get(20)
    (tmp_path / "go").touch()
    for result in (running, queued[0], queued[2]):
        result.get(20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "go", "started"]


def test_what_has_ended_cannot_be_cancelled(pool: Pool) -> None:
    done = pool.apply_async(square, (3,))
    failed = pool.apply_async(fail, ("x",))
    done.wait(5)
    failed.wait(5)
    assert not done.cancel()
    assert not failed.cancel()
    assert done.get() == 9
    twice = pool.apply_async(sleep, (60,))
    assert twice.cancel()
    assert not twice.cancel()


def test_a_cancelled_map_stops_all_of_its_chunks(pool: Pool, tmp_path: Path) -> None:
    result = pool.map_async(touch, (str(tmp_path / f"{number}") for number in range(3)), chunksize=1)
    result.get(20)
    assert not result.cancel()
    arguments = [(str(tmp_path / f"started {number}"), str(tmp_path / "never")) for number in range(50)]
    result = pool.starmap_async(touch_and_wait, arguments, chunksize=1)
    eventually((tmp_path / "started 0").exists)
    assert result.cancel()
    with pytest.raises(CallCancelledError):
        result.get(20)
    assert pool.apply_async(square, (2,)).get(20) == 4
    assert not (tmp_path / "started 1").exists()


def test_very_many_calls_are_cancelled_one_by_one_in_no_time() -> None:
    with Pool(1) as pool:
        pool.apply_async(sleep, (60,))
        results = [pool.apply_async(square, (n,)) for n in range(50_000)]
        started = time.monotonic()
        assert all(result.cancel() for result in reversed(results))
        for result in results:
            result.wait(60)
        assert not pool.stats().waiting
        assert time.monotonic() - started < 20


def test_calls_that_race_with_their_cancellation_have_one_outcome(pool: Pool) -> None:
    for _ in range(200):
        result = pool.apply_async(square, (3,))
        if result.cancel():
            with pytest.raises(CallCancelledError):
                result.get(20)
        else:
            assert result.get(20) == 9
    assert pool.map(square, range(10)) == [n * n for n in range(10)]


# ── futures ──


def test_submit_gives_a_future(pool: Pool) -> None:
    future = pool.submit(pow, 2, 10, mod=1000)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(5) == 24
    assert future.done()
    assert future.exception() is None
    assert not future.cancelled()


def test_the_error_of_a_call_is_its_futures(pool: Pool) -> None:
    failed = pool.submit(fail, "x")
    assert isinstance(failed.exception(5), LookupError)
    with pytest.raises(WorkerDiedError):
        pool.submit(die, 9).result(10)
    with pytest.raises(RuntimeError, match="not to be pickled"):
        pool.submit(square, Refusing()).result(5)  # type: ignore[arg-type]


def test_wait_and_as_completed_know_our_futures(pool: Pool) -> None:
    futures = [pool.submit(square, n) for n in range(20)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures, timeout=10)) == [
        n * n for n in range(20)
    ]
    slow = pool.submit(sleep, 60)
    done, undone = concurrent.futures.wait([pool.submit(sleep, 0.01), slow], timeout=0.5)
    assert slow in undone
    slow.cancel()
    done, undone = concurrent.futures.wait([slow], timeout=10)
    assert not undone
    assert {future.cancelled() for future in done} == {True}


def test_a_cancelled_future_stops_its_call(pool: Pool, tmp_path: Path) -> None:
    first = pool.apply(pid)
    called: list[object] = []
    future = pool.submit(touch_and_wait, str(tmp_path / "started"), str(tmp_path / "never"))
    future.add_done_callback(called.append)
    eventually((tmp_path / "started").exists)
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)
    assert called == [future]
    assert pool.submit(pid).result(10) != first
    ended = pool.submit(square, 3)
    ended.result(5)
    assert not ended.cancel()


async def test_a_future_can_be_awaited(pool: Pool) -> None:
    assert await asyncio.wrap_future(pool.submit(square, 7)) == 49
    first = await asyncio.wrap_future(pool.submit(pid))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.wrap_future(pool.submit(sleep, 60))
    assert await asyncio.wrap_future(pool.submit(pid)) != first


def test_a_done_callback_that_raises_costs_nobody_else(pool: Pool) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    future = pool.submit(square, 2)
    future.add_done_callback(leave)
    assert pool.submit(square, 3).result(5) == 9


def test_terminate_ends_all_futures() -> None:
    pool = Pool(1)
    futures = [pool.submit(sleep, 60) for _ in range(10)]
    pool.terminate()
    assert all(isinstance(future.exception(5), PoolClosedError) for future in futures)
    with pytest.raises(ValueError, match="not running"):
        pool.submit(square, 1)


def test_a_pool_lives_until_its_last_future_has_its_result() -> None:
    threads = threading.active_count()
    future = Pool(1).submit(sleep, 0.2)
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):
        eventually(lambda: future.done() and future._pool is None)
    assert future.result() == 0.2
    eventually(lambda: threading.active_count() == threads)  # only now: the warning that was caught holds the pool
