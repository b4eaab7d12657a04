"""`workd.Pool`: time and memory limits of calls, back-pressure, and workers that are replaced between calls."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from support.calls import grow, pid, sleep, sleep_softly, square, touch_and_wait
from support.waiting import eventually
from workd import Pool
from workd.errors import JobTimeoutError, MemoryLimitError
from workd_tasks.errors import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workd.pool.api.results import AsyncResult

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool


# ── time ──


def test_a_call_that_takes_too_long_is_stopped_and_no_other(pool: Pool) -> None:
    other = pool.apply_async(sleep, (1.0,))
    started = time.monotonic()
    with pytest.raises(JobTimeoutError, match=r"sleep: stopped after its timeout of 0\.2 s") as caught:
        pool.apply(sleep, (60,), timeout=0.2)
    assert time.monotonic() - started < 5
    assert caught.value.timeout_s == 0.2
    assert isinstance(caught.value, TimeoutError)
    assert other.get(20) == 1.0


def test_a_call_that_is_quick_enough_returns(pool: Pool) -> None:
    assert pool.apply_async(square, (3,), timeout=30, soft_timeout=20).get(20) == 9


def test_a_soft_timeout_lets_the_function_clean_up(pool: Pool) -> None:
    assert pool.apply(sleep_softly, (60,), soft_timeout=0.2, timeout=30) == "cleaned up"
    with pytest.raises(SoftTimeout):
        pool.apply(sleep, (60,), soft_timeout=0.2)


def test_the_limits_of_a_map_hold_for_each_call_of_the_function(pool: Pool) -> None:
    assert pool.map(sleep, [0.8] * 8, timeout=3.0) == [0.8] * 8
    assert pool.starmap(sleep, [(0.8,)] * 8, timeout=3.0) == [0.8] * 8
    assert list(pool.imap(sleep, [0.8] * 8, timeout=3.0)) == [0.8] * 8
    for run in (pool.map, pool.imap, pool.imap_unordered):
        with pytest.raises(JobTimeoutError, match=r"sleep: stopped after its timeout of 0\.3 s"):
            list(run(sleep, [0.01, 60], timeout=0.3))


def test_a_chunk_has_the_time_of_all_its_items(pool: Pool) -> None:
    assert pool.map(sleep, [0.8] * 4, chunksize=4, timeout=2.0) == [0.8] * 4
    for run in (pool.map, pool.imap, pool.imap_unordered):
        with pytest.raises(JobTimeoutError, match=r"sleep \(in chunks of 2\): stopped after its timeout of 0\.4 s"):
            list(run(sleep, [60, 0.01], chunksize=2, timeout=0.2))
    with pytest.raises(JobTimeoutError, match=r"0\.2 s"):  # the last chunk is a short one
        list(pool.imap(sleep, [0.01, 0.01, 60], chunksize=2, timeout=0.2))


def test_options_of_a_view_hold_for_all_of_its_calls(pool: Pool) -> None:
    quick = pool.with_options(timeout=0.2)
    for call in (
        lambda: quick.submit(sleep, 60).result(10),
        lambda: quick.apply(sleep, (60,)),
        lambda: quick.map(sleep, [60]),
        lambda: next(quick.imap(sleep, [60])),
    ):
        with pytest.raises(JobTimeoutError, match=r"0\.2 s"):
            call()
    assert quick.with_options(timeout=None).apply(sleep, (0.4,)) == 0.4
    assert quick.apply(sleep, (0.4,), timeout=30) == 0.4
    assert pool.apply(sleep, (0.4,)) == 0.4


def test_a_view_keeps_its_pool_alive_and_ends_with_it() -> None:
    view = Pool(1).with_options(timeout=30)
    assert view.apply(square, (3,)) == 9
    pool = view._running_pool()
    assert isinstance(pool, Pool)
    pool.terminate()
    with pytest.raises(ValueError, match="not running"):
        view.apply(square, (3,))


# ── memory ──


def test_a_call_that_uses_too_much_memory_fails_and_no_other(pool: Pool) -> None:
    other = pool.apply_async(sleep, (1.0,))
    with pytest.raises((MemoryLimitError, MemoryError)):
        pool.apply(grow, (400 * MIB,), memory_limit=150 * MIB)
    assert other.get(20) == 1.0


def test_a_memory_limit_of_the_pool_holds_for_every_call() -> None:
    with Pool(1, memory_limit=150 * MIB) as pool:
        with pytest.raises((MemoryLimitError, MemoryError)):
            pool.apply(grow, (400 * MIB,))
        assert pool.apply(square, (3,)) == 9


# ── workers that are replaced ──


def test_a_worker_is_replaced_after_its_number_of_calls() -> None:
    with Pool(1, maxtasksperchild=3) as pool:
        pids = [pool.apply(pid) for _ in range(12)]
    runs = [len(list(run)) for _, run in itertools.groupby(pids)]
    assert len(runs) == len(set(pids)) >= 4
    assert max(runs) == 3


def test_a_worker_is_replaced_by_age_and_calls_go_on() -> None:
    with Pool(1, max_age=0.3) as pool:
        first = pool.apply(pid)
        eventually(lambda: pool.apply(pid) != first)
        eventually(lambda: pool.stats().recycled)


# ── limits that are none ──


@pytest.mark.parametrize("limit", [sys.maxsize, 2**62, 2**70])
def test_a_memory_limit_beyond_all_memory_is_none(pool: Pool, limit: int) -> None:
    assert pool.apply_async(square, (3,), memory_limit=limit).get(20) == 9
    assert pool.apply_async(square, (3,), memory_limit=2**62 - 1).get(20) == 9


def test_times_may_be_any_number_or_endless(pool: Pool) -> None:
    for seconds in (Decimal(20), 20, float("inf"), 10**400, 1e308):
        assert pool.apply_async(square, (3,), timeout=seconds, soft_timeout=seconds).get(20) == 9  # type: ignore[arg-type]
    assert pool.map_async(square, range(10), 5, timeout=1e308).get(20) == [n * n for n in range(10)]


def test_a_limit_of_a_wrong_type_is_refused_to_its_caller_and_harms_no_other_call(pool: Pool, tmp_path: Path) -> None:
    go = tmp_path / "go"
    running = [pool.apply_async(touch_and_wait, (str(tmp_path / str(n)), str(go))) for n in range(2)]
    waiting = pool.apply_async(square, (3,))
    for options in ({"memory_limit": 1e9}, {"memory_limit": "1 GB"}, {"timeout": "5"}, {"soft_timeout": [5]}):
        (name,) = options
        with pytest.raises(TypeError, match=f"{name} must be a"):
            pool.apply_async(square, (3,), **options)
        with pytest.raises(TypeError, match=f"{name} must be a"):
            pool.with_options(**options)
    go.touch()
    assert [result.get(20) for result in running] == [None, None]
    assert waiting.get(20) == 9


def test_limits_of_a_pool_may_be_endless() -> None:
    endless: dict[str, Any] = {
        "memory_limit": 2**70,
        "max_pending": sys.maxsize,
        "max_growth": sys.maxsize,
        "max_age": float("inf"),
    }
    for boot_timeout in (None, float("inf")):
        with Pool(1, boot_timeout=boot_timeout, **endless) as pool:
            assert pool.apply_async(square, (3,)).get(20) == 9


def test_limits_of_a_pool_of_a_wrong_type_are_refused_before_anything_is_started() -> None:
    for options in ({"memory_limit": 1e9}, {"max_growth": "1"}, {"max_pending": 2.5}, {"max_age": "1"}):
        (name,) = options
        with pytest.raises(TypeError, match=f"{name} must be a"):
            Pool(1, **options)
    with pytest.raises(TypeError, match="boot_timeout must be a"):
        Pool(1, boot_timeout="60")  # type: ignore[arg-type]


def test_a_limit_that_says_none_does_not_cut_a_map_into_single_items(pool: Pool) -> None:
    plain = pool.map_async(square, range(1000))
    said = pool.map_async(square, range(1000), timeout=None, soft_timeout=float("inf"), memory_limit=None)
    assert len(said._parts) == len(plain._parts) == 8
    limited = pool.map_async(square, range(1000), timeout=10)
    assert len(limited._parts) == 1000
    assert plain.get(20) == said.get(20) == limited.get(20)


# ── back-pressure ──


def test_calls_wait_in_their_thread_while_too_many_have_no_outcome(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Pool(1, max_pending=3) as pool:
        made: list[AsyncResult[None]] = []

        def make() -> None:
            numbers = (str(tmp_path / f"{number}") for number in range(10))
            made.extend(pool.apply_async(touch_and_wait, (number, str(go))) for number in numbers)

        making = threading.Thread(target=make)
        making.start()
        eventually(lambda: len(made) == 3)
        time.sleep(0.2)  # long enough to make them all
        assert len(made) == 3
        go.touch()
        making.join(10)
        assert not making.is_alive()
        for result in made:
            result.get(20)
        assert len(made) == 10


def test_everything_works_with_room_for_one_call() -> None:
    with Pool(2, max_pending=1) as pool:
        assert pool.map(square, range(50), chunksize=1) == [n * n for n in range(50)]
        assert list(pool.imap(square, range(50))) == [n * n for n in range(50)]
        assert [pool.submit(square, n).result(10) for n in range(10)] == [n * n for n in range(10)]
        with pytest.raises(Exception, match="pickle"):
            pool.apply(lambda: 1)
        assert pool.apply(square, (3,)) == 9


def test_a_callback_never_waits_for_room(tmp_path: Path) -> None:
    with Pool(1, max_pending=1) as pool:
        inner: list[AsyncResult[None]] = []

        def call_again(_: int) -> None:
            arguments = (str(tmp_path / "started"), str(tmp_path / "go"))
            inner.extend(pool.apply_async(touch_and_wait, arguments) for _ in range(5))

        assert pool.apply_async(square, (1,), callback=call_again).get(20) == 1  # only after its callback
        (tmp_path / "go").touch()
        assert [result.get(20) for result in inner] == [None] * 5
        assert pool.apply(square, (3,)) == 9


def test_terminate_ends_a_wait_for_room() -> None:
    pool = Pool(1, max_pending=1)
    pool.apply_async(sleep, (60,))
    errors: list[BaseException] = []

    def call() -> None:
        try:
            pool.apply_async(sleep, (60,))
        except ValueError as error:
            errors.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    time.sleep(0.1)
    pool.terminate()
    calling.join(5)
    assert not calling.is_alive()
    assert [str(error) for error in errors] == ["Pool not running"]


def test_a_cancelled_call_makes_room() -> None:
    with Pool(1, max_pending=1) as pool:
        assert pool.apply_async(sleep, (60,)).cancel()
        assert pool.apply_async(square, (3,)).get(20) == 9
