"""`workd.Pool`: imap and imap_unordered, which read their iterable while their values are being read."""

import functools
import itertools
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.calls import Refusing, leave_trace, pid, same, sleep, square, square_or_die, square_or_fail, wait_with
from support.pool_owner import assert_nothing_new, left_overs
from support.waiting import eventually
from workd import Pool
from workd.errors import CallCancelledError, PoolClosedError, WorkerDiedError
from workd.pool.api.imap import Stream


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool


def feeders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "workd-pool-imap"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    eventually(lambda: not feeders())


# ── values ──


@pytest.mark.parametrize("chunksize", [1, 7, 5000])
def test_imap_keeps_the_order(pool: Pool, chunksize: int) -> None:
    assert list(pool.imap(square, range(3000), chunksize)) == [n * n for n in range(3000)]
    assert list(pool.imap(square, iter(range(10)), chunksize=chunksize)) == [n * n for n in range(10)]
    assert list(pool.imap(square, [], chunksize)) == []


@pytest.mark.parametrize("chunksize", [1, 7, 5000])
def test_imap_unordered_gives_every_value_once(pool: Pool, chunksize: int) -> None:
    assert sorted(pool.imap_unordered(square, range(3000), chunksize)) == [n * n for n in range(3000)]
    assert list(pool.imap_unordered(square, [], chunksize)) == []


def test_imap_unordered_gives_the_first_value_that_is_there(pool: Pool) -> None:
    assert list(pool.imap_unordered(sleep, [0.5, 0.01])) == [0.01, 0.5]
    assert list(pool.imap(sleep, [0.3, 0.01])) == [0.3, 0.01]


def test_the_end_stays_the_end(pool: Pool) -> None:
    for values in (pool.imap(square, [3]), pool.imap(square, [3], 2)):
        assert iter(values) is values
        assert next(values) == 9
        for _ in range(3):
            with pytest.raises(StopIteration):
                next(values)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_next_with_a_timeout_raises_and_loses_nothing(pool: Pool, chunksize: int) -> None:
    values = pool.imap(sleep, [0.3, 0.01], chunksize)
    with pytest.raises(multiprocessing.TimeoutError):
        values.next(timeout=0.01)
    assert [values.next(5), values.next(timeout=5)] == [0.3, 0.01]
    with pytest.raises(StopIteration):
        values.next(5)


def test_several_threads_may_read_one_iterator(pool: Pool) -> None:
    values = pool.imap(square, range(2000))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(values)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == [n * n for n in range(2000)]


# ── errors ──


def test_an_exception_is_raised_in_its_place_and_the_rest_follows(pool: Pool) -> None:
    values = pool.imap(square_or_fail, range(10))
    assert [next(values) for _ in range(7)] == [n * n for n in range(7)]
    with pytest.raises(LookupError, match="7"):
        next(values)
    assert list(values) == [64, 81]


def test_chunks_end_with_an_exception_as_the_standard_librarys_generator_does(pool: Pool) -> None:
    values = pool.imap(square_or_fail, range(10), chunksize=4)
    assert [next(values) for _ in range(4)] == [0, 1, 4, 9]
    with pytest.raises(LookupError, match="7"):
        next(values)
    assert list(values) == []


def test_the_death_of_a_worker_costs_one_value(pool: Pool) -> None:
    values = pool.imap(square_or_die, range(100))
    found: list[int] = []
    with pytest.raises(WorkerDiedError, match="square_or_die"):
        found.extend(values)
    assert found == [n * n for n in range(7)] or found == []
    assert list(values) == [n * n for n in range(8, 100)]


def broken(length: int) -> Iterator[int]:
    yield from range(length)
    raise LookupError("broken")


@pytest.mark.parametrize(("chunksize", "whole"), [(1, 5), (2, 4)])
def test_an_exception_of_the_iterable_is_the_last_outcome(pool: Pool, chunksize: int, whole: int) -> None:
    values = pool.imap(square, broken(5), chunksize)
    assert [next(values) for _ in range(whole)] == [n * n for n in range(whole)]
    with pytest.raises(LookupError, match="broken") as caught:
        next(values)
    assert caught.value.__cause__ is None
    assert list(values) == []


def test_what_is_no_iterable_is_an_error_of_the_iterator(pool: Pool) -> None:
    for chunksize in (1, 2):
        values = pool.imap(square, 5, chunksize)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not iterable"):
            next(values)


def test_an_item_that_cannot_be_pickled_fails_alone(pool: Pool) -> None:
    values = pool.imap(same, [1, Refusing(), 2])
    assert next(values) == 1
    with pytest.raises(RuntimeError, match="not to be pickled"):
        next(values)
    assert list(values) == [2]


def test_a_wrong_chunksize_is_refused(pool: Pool) -> None:
    for call in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match=r"Chunksize must be 1\+, not 0"):
            call(square, [1], 0)


# ── iterables ──


@pytest.mark.parametrize("chunksize", [1, 10])
def test_an_endless_iterable_is_read_only_so_far_ahead(pool: Pool, chunksize: int) -> None:
    taken = itertools.count()
    numbers = map(lambda number: (next(taken), number)[1], itertools.count())  # noqa: C417 - counts what is taken
    values = pool.imap(square, numbers, chunksize)
    assert list(itertools.islice(values, 100)) == [n * n for n in range(100)]
    values.cancel()
    eventually(lambda: not feeders())
    assert next(taken) > 100


def test_large_items_are_read_less_far_ahead(tmp_path: Path) -> None:
    taken: list[int] = []

    def blocks() -> Iterator[tuple[str, str, bytes]]:
        for number in range(200):
            taken.append(number)
            yield f"{tmp_path}/started", f"{tmp_path}/go", bytes(2 * 1024 * 1024)

    with Pool(1) as pool:
        values = pool.imap_unordered(wait_with, blocks())
        eventually(lambda: len(taken) > 10)
        time.sleep(0.3)  # long enough to read many more
        assert len(taken) < 30
        Path(tmp_path, "go").touch()
        assert sum(1 for _ in values) == 200


def numbers_that_count(taken: list[int], length: int | None = None) -> Iterator[int]:
    for number in itertools.count() if length is None else range(length):
        taken[0] = number
        yield number


def waits_for_reader(stream: Stream) -> bool:
    return bool(stream.feeders) and stream.given < stream.settled == stream.fed


def test_an_endless_iterable_waits_for_a_slow_reader(pool: Pool) -> None:
    taken = [0]
    values = pool.imap(square, numbers_that_count(taken))
    eventually(functools.partial(waits_for_reader, values._stream))  # type: ignore[union-attr]
    assert list(itertools.islice(values, 20_000)) == [n * n for n in range(20_000)]
    eventually(functools.partial(waits_for_reader, values._stream))  # type: ignore[union-attr]
    assert taken[0] < 30_000
    values.cancel()


def test_a_list_does_not_wait_for_its_reader(pool: Pool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.touch()
    values = pool.imap(functools.partial(leave_trace, str(trace)), ["x"] * 10_000)
    eventually(lambda: trace.stat().st_size == 10_000, 30)
    assert sum(1 for _ in values) == 10_000


def test_a_blocking_iterable_holds_nobody_up(pool: Pool) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[int]:
        yield 2
        go_on.wait(30)
        yield 3

    values = pool.imap(square, slow())
    assert next(values) == 4
    assert pool.map(square, range(100)) == [n * n for n in range(100)]
    assert list(pool.imap(square, range(10))) == [n * n for n in range(10)]
    go_on.set()
    assert list(values) == [9]


def test_an_iterable_may_use_the_pool(pool: Pool) -> None:
    assert list(pool.imap(square, (pool.apply(square, (n,)) for n in range(5)))) == [n**4 for n in range(5)]


def test_the_result_of_one_imap_feeds_the_next(pool: Pool) -> None:
    assert sorted(pool.imap_unordered(square, pool.imap_unordered(square, range(3000)))) == [n**4 for n in range(3000)]


# ── the end ──


@pytest.mark.parametrize("chunksize", [1, 3])
def test_an_imap_that_nobody_reads_is_run_to_its_end_before_join_returns(tmp_path: Path, chunksize: int) -> None:
    before = left_overs()
    pool = Pool(2)
    pool.imap(functools.partial(leave_trace, str(tmp_path / "trace")), (str(n) for n in range(2000)), chunksize)
    pool.close()
    pool.join()
    assert len((tmp_path / "trace").read_text()) == 2000
    assert_nothing_new(before)


def test_a_closed_pool_runs_what_its_iterator_has_not_read() -> None:
    taken = [0]
    pool = Pool(2)
    values = pool.imap(square, numbers_that_count(taken, 20_000))
    eventually(functools.partial(waits_for_reader, values._stream))  # type: ignore[union-attr]
    assert taken[0] < 19_999
    pool.close()
    pool.join()
    assert list(values) == [n * n for n in range(20_000)]


def test_a_dropped_iterator_runs_the_rest_in_a_pool_that_stays_open(pool: Pool) -> None:
    taken = [0]
    values = pool.imap(square, numbers_that_count(taken, 20_000))
    eventually(functools.partial(waits_for_reader, values._stream))  # type: ignore[union-attr]
    assert taken[0] < 19_999
    del values
    eventually(lambda: taken[0] == 19_999, 30)


def test_terminate_does_not_wait_for_a_stuck_iterable_and_its_reader_hears_of_it() -> None:
    go_on = threading.Event()

    def stuck() -> Iterator[int]:
        yield 2
        go_on.wait(60)
        yield 3

    pool = Pool(1)
    values = pool.imap(square, stuck())
    assert next(values) == 4
    started = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - started < 20
    with pytest.raises(PoolClosedError, match="rest of the iterable"):
        values.next(5)
    with pytest.raises(StopIteration):
        values.next(5)
    go_on.set()


def test_terminate_fails_what_has_no_value_yet() -> None:
    pool = Pool(1)
    values = pool.imap(sleep, itertools.repeat(30.0))
    eventually(lambda: pool.stats().running)
    pool.terminate()
    with pytest.raises(PoolClosedError):
        values.next(5)


def test_dropped_iterators_leave_no_values_and_no_threads_behind() -> None:
    before = left_overs()
    pool = Pool(2)
    for _ in range(5):
        values = pool.imap_unordered(same, (bytes(1000) for _ in range(500)))
        next(values)
        del values
    pool.close()
    pool.join()
    assert_nothing_new(before)


def test_a_pool_is_kept_alive_by_an_iterator_that_is_read() -> None:
    values = Pool(1).imap(square, range(100))
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):
        assert list(values) == [n * n for n in range(100)]


# ── cancel ──


def outcomes(values: Iterator[object]) -> list[object]:
    """Return all that there is to be read, exceptions included."""
    found: list[object] = []
    while True:
        try:
            found.append(next(values))
        except StopIteration:
            return found
        except CallCancelledError as error:
            found.append(error)


def test_cancel_stops_what_runs_and_what_waits(tmp_path: Path) -> None:
    with Pool(1) as pool:
        first = pool.apply(pid)
        started = tmp_path / "started"
        values = pool.imap(wait_with, itertools.repeat((str(started), str(tmp_path / "never"), b"")))
        eventually(started.exists)
        assert values.cancel()
        errors = outcomes(values)
        assert {type(error) for error in errors} == {CallCancelledError}
        assert str(errors[0]).startswith("wait_with: cancelled")
        assert str(errors[-1]) == "cancelled before the rest of the iterable was read"
        assert not values.cancel()
        assert pool.apply_async(pid).get(20) != first
        eventually(lambda: not pool.stats().waiting)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("end", ["cancel", "terminate"])
def test_a_reader_hears_of_the_end_while_the_next_chunk_waits_for_room(end: str, *, ordered: bool) -> None:
    with Pool(1, max_pending=2) as pool:
        values = (pool.imap if ordered else pool.imap_unordered)(sleep, itertools.repeat(0.1))
        assert next(values) == 0.1
        eventually(lambda: pool._engine._books.admission._waiters)  # type: ignore[union-attr]
        values.cancel() if end == "cancel" else pool.terminate()
        found: list[object] = []
        while True:
            try:
                found.append(values.next(10))
            except StopIteration:
                break
            except (CallCancelledError, PoolClosedError, ValueError) as error:
                found.append(error)
        assert 1 <= len(found) <= 5
        with pytest.raises(StopIteration):
            values.next(0)


def test_cancel_of_what_has_ended_changes_nothing(pool: Pool) -> None:
    values = pool.imap(square, range(3))
    eventually(lambda: len(values._stream.arrived) == 3)  # type: ignore[union-attr]
    eventually(lambda: values._stream.length == 3)  # type: ignore[union-attr]
    assert not values.cancel()
    assert list(values) == [0, 1, 4]
