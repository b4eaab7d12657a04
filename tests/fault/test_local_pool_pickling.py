"""What does not survive the way to a worker of `workd.Pool` and back is the outcome of that call, and of no other."""

from __future__ import annotations

from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import pytest

from support import fault_calls
from support.fault_objects import (
    DiesWhenUnpickled,
    ExitsWhenPickled,
    HoldsALockError,
    NeedsArgumentsError,
    NotPicklable,
    NotPicklableWithoutWords,
    RaisesWhenShownError,
    RaisesWhenUnpickled,
    RaisesWhenUnpickledError,
)
from support.local_pools import worker_pids
from workd.errors import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workd import Pool

Call = tuple["Callable[..., Any]", tuple[Any, ...]]


@pytest.fixture
def same_workers(pool: Pool) -> Iterator[Pool]:
    """The pool; whatever the test does may cost it no worker."""
    before = worker_pids(pool)
    yield pool
    assert worker_pids(pool) == before


@pytest.mark.parametrize(
    ("argument", "kind", "words"),
    [
        (NotPicklable(), ValueError, "not to be pickled"),
        (lambda: 1, Exception, "pickle"),
        (RaisesWhenUnpickled(), LookupError, "not to be unpickled"),
        (RaisesWhenUnpickled(SystemExit), SystemExit, "not to be unpickled"),
        (RaisesWhenUnpickled(KeyboardInterrupt), KeyboardInterrupt, "not to be unpickled"),
    ],
)
def test_an_argument_that_does_not_travel_fails_its_call(
    same_workers: Pool, argument: object, kind: type[BaseException], words: str
) -> None:
    results = [same_workers.apply_async(fault_calls.length, (b"x", value)) for value in (b"yz", argument, b"")]
    with pytest.raises(kind, match=words):
        results[1].get(20)
    assert (results[0].get(20), results[2].get(20)) == (3, 1)


def test_an_argument_that_kills_the_worker_that_unpickles_it_costs_its_call(pool: Pool) -> None:
    results = [pool.apply_async(fault_calls.length, (b"x", value)) for value in (b"yz", DiesWhenUnpickled(), b"")]
    with pytest.raises(WorkerDiedError, match="exited with code 9"):
        results[1].get(20)
    assert (results[0].get(20), results[2].get(20)) == (3, 1)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        ((fault_calls.make, (NotPicklable,)), MaybeEncodingError, "not to be pickled"),
        ((fault_calls.make, (NotPicklableWithoutWords,)), MaybeEncodingError, "not to be pickled"),
        ((fault_calls.make, (ExitsWhenPickled,)), MaybeEncodingError, "SystemExit"),
        ((fault_calls.make, (RaisesWhenUnpickled,)), LookupError, "not to be unpickled"),
        ((fault_calls.make, (RaisesWhenUnpickled, SystemExit)), SystemExit, "not to be unpickled"),
        ((fault_calls.make, (RaisesWhenUnpickled, KeyboardInterrupt)), KeyboardInterrupt, "not to be unpickled"),
        ((fault_calls.throw, (HoldsALockError, "held")), MaybeEncodingError, "held"),
        ((fault_calls.throw, (RaisesWhenShownError,)), RaisesWhenShownError, None),
        ((fault_calls.throw, (RaisesWhenUnpickledError,)), LookupError, "not to be unpickled"),
        ((fault_calls.throw, (NeedsArgumentsError, 1, 2)), Exception, "NeedsArgumentsError"),
    ],
)
def test_an_outcome_that_does_not_travel_is_an_error_of_its_call(
    same_workers: Pool, call: Call, kind: type[BaseException], words: str | None
) -> None:
    before = same_workers.apply_async(fault_calls.double, (1,))
    doomed = same_workers.apply_async(*call)
    after = same_workers.map_async(fault_calls.double, range(50), chunksize=1)
    with pytest.raises(kind, match=words) as caught:
        doomed.get(20)
    if call[0] is fault_calls.throw:  # whatever becomes of the exception, where it was raised is told
        assert "in throw" in str(caught.value.__cause__)
    assert (before.get(20), after.get(20)) == (2, [2 * number for number in range(50)])


def test_one_item_that_does_not_travel_fails_its_map_and_no_other(same_workers: Pool) -> None:
    doomed = same_workers.map_async(fault_calls.length, [b"x", NotPicklable(), b"y"], chunksize=1)
    other = same_workers.map_async(fault_calls.length, [b"x", b"yz"], chunksize=1)
    with pytest.raises(ValueError, match="not to be pickled"):
        doomed.get(20)
    assert other.get(20) == [1, 2]


def test_arguments_and_results_of_100_mb_travel_while_others_go_on(pool: Pool) -> None:
    size = 100_000_000
    there = pool.apply_async(fault_calls.length, (bytes(size),))
    back = pool.apply_async(fault_calls.large, (size,))
    others = [pool.apply_async(fault_calls.double, (number,)) for number in range(100)]
    assert [result.get(20) for result in others] == [2 * number for number in range(100)]
    assert there.get(30) == len(back.get(30)) == size
