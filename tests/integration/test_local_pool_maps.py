"""`workd.Pool`: map and starmap, their chunks and their errors."""

import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from support.calls import Counted, Refusing, add, fail, fail_after, same, sleep, square, square_or_die, square_or_fail
from support.waiting import eventually
from workd import Pool
from workd.errors import WorkerDiedError


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool


def test_maps_keep_the_order(pool: Pool) -> None:
    assert pool.map(square, range(1000)) == [n * n for n in range(1000)]
    assert pool.map(square, range(10), chunksize=3) == [n * n for n in range(10)]
    assert pool.map(square, iter([1, 2, 3])) == [1, 4, 9]
    assert pool.map(square, {2: "keys"}) == [4]
    assert pool.starmap(add, [(1, 2), (3,)]) == [3, 3]
    assert pool.starmap(add, ((n, n) for n in range(100)), chunksize=7) == [2 * n for n in range(100)]


def test_a_map_of_nothing_is_ready_and_calls_nobody_back_as_in_the_standard_library(pool: Pool) -> None:
    called: list[object] = []
    result = pool.map_async(square, [], callback=called.append, error_callback=called.append)
    assert result.ready()
    assert result.successful()
    assert result.get() == []
    assert pool.map(square, [], chunksize=5) == pool.starmap(add, []) == []
    assert called == []


def test_the_callback_of_a_map_is_called_once_with_all_values(pool: Pool) -> None:
    values: list[object] = []
    pool.map_async(square, range(30), callback=values.append, error_callback=values.append).wait(5)
    pool.starmap_async(add, [(1, 1)], callback=values.append).wait(5)
    assert values == [[n * n for n in range(30)], [2]]


@pytest.mark.parametrize(
    ("items", "chunksize", "options", "sizes"),
    [
        (80, None, {}, [10] * 8),
        (81, None, {}, [11] * 7 + [4]),
        (3, None, {}, [1, 1, 1]),
        (10, 4, {}, [4, 4, 2]),
        (80, None, {"timeout": 30}, [1] * 80),  # each call has a limit of its own
        (80, 10, {"timeout": 30}, [10] * 8),
    ],
)
def test_a_map_is_cut_into_four_chunks_a_worker_or_as_it_is_told(
    pool: Pool, items: int, chunksize: int | None, options: Any, sizes: list[int]
) -> None:
    with patch.object(pool._engine, "submit", wraps=pool._engine.submit) as submit:
        pool.map(square, range(items), chunksize, **options)
    assert [len(call.args[0][1][1]) for call in submit.call_args_list] == sizes


def test_the_first_exception_of_a_map_is_its_outcome_once_all_chunks_have_ended(pool: Pool) -> None:
    errors: list[BaseException] = []
    started = time.monotonic()
    result = pool.starmap_async(fail_after, [(0.5, "last"), (0.0, "first")], chunksize=1, error_callback=errors.append)
    with pytest.raises(LookupError, match="first"):
        result.get(20)
    assert time.monotonic() - started >= 0.5
    assert not result.successful()
    assert [type(error) for error in errors] == [LookupError]


def test_one_failing_item_fails_the_map_and_no_other_call(pool: Pool) -> None:
    other = pool.map_async(square, range(100), chunksize=1)
    with pytest.raises(LookupError):
        pool.map(square_or_fail, range(100))
    assert other.get(20) == [n * n for n in range(100)]


def test_the_death_of_a_worker_in_one_chunk_is_the_maps_error(pool: Pool) -> None:
    with pytest.raises(WorkerDiedError, match=r"square_or_die \(in chunks of 5\): the worker"):
        pool.map(square_or_die, range(100), chunksize=5)
    assert pool.map(square, range(4)) == [0, 1, 4, 9]


def test_an_item_that_cannot_be_pickled_is_the_maps_error(pool: Pool) -> None:
    with pytest.raises(RuntimeError, match="not to be pickled"):
        pool.map(same, [1, Refusing(), 2], chunksize=1)


class Broken:
    """An iterable that has a length and raises."""

    def __len__(self) -> int:
        return 100

    def __iter__(self) -> Iterator[int]:
        yield 1
        raise LookupError("broken")


def test_an_exception_of_the_iterable_is_raised_at_once_or_is_the_outcome_as_in_the_standard_library(
    pool: Pool,
) -> None:
    with pytest.raises(LookupError, match="broken"):
        pool.map_async(square, iter(Broken()))
    result = pool.map_async(square, Broken())
    with pytest.raises(LookupError, match="broken"):
        result.get(20)


def test_a_wrong_chunksize_is_refused(pool: Pool) -> None:
    for chunksize in (0, -1):
        with pytest.raises(ValueError, match="Chunksize must be 1"):
            pool.map(square, [1], chunksize=chunksize)


def test_arguments_and_results_are_not_kept_alive(pool: Pool) -> None:
    objects = [Counted() for _ in range(10)]
    references = [weakref.ref(it) for it in objects]
    pool.map(same, objects)
    results = [pool.apply_async(same, (it,), callback=lambda _: None) for it in objects]
    assert all(isinstance(result.get(20), Counted) for result in results)
    del objects, results
    gc.collect()
    assert {reference() for reference in references} == {None}
    eventually(lambda: not Counted.instances)


def test_a_callback_runs_while_a_map_waits_for_its_other_chunks(pool: Pool) -> None:
    slow = pool.map_async(sleep, [0.5, 0.01], chunksize=1)
    values: list[int] = []
    pool.apply_async(square, (3,), callback=values.append).get(20)
    assert values == [9]
    assert not slow.ready()
    assert slow.get(20) == [0.5, 0.01]
    with pytest.raises(LookupError):
        pool.map(fail, ["x", "x"])
