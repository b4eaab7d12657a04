"""The open calls of a local pool: each gets one outcome, whoever comes first, and none is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from workd.errors import CallCancelledError, PoolClosedError
from workd.pool.api.admission import Admission
from workd.pool.api.books import Books
from workd.pool.slot import Job

if TYPE_CHECKING:
    from workd.pool.api.outcomes import Outcome
    from workd.pool.api.waiting import Waiters


class Recorder:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.first_key = self.last_key = 0
        self.told: list[tuple[int, Outcome]] = []

    def settle(self, number: int, outcome: Outcome) -> Waiters:
        self.told.append((number, outcome))
        return []


@pytest.fixture
def books() -> Books:
    return Books(None)


@pytest.fixture
def sink() -> Recorder:
    return Recorder()


def enter(books: Books, sink: Recorder, *numbers: int) -> list[Job]:
    jobs = [Job(len(books.pending) + 1 + index, b"", "work", None, (sink, n)) for index, n in enumerate(numbers)]
    for job in jobs:
        books.enter(job)
    return jobs


class Counted(dict[int, Job]):
    """Open calls, and how many of them were looked at."""

    looks = 0

    def get(self, *args: Any) -> Any:
        self.looks += 1
        return super().get(*args)

    def copy(self) -> dict[int, Job]:
        self.looks += len(self)
        return super().copy()


ERROR: Any = LookupError("x")


def test_a_call_takes_its_first_outcome_and_no_other(books: Books, sink: Recorder) -> None:
    (job,) = enter(books, sink, 7)
    books.settle(job, ERROR)
    books.settle(job, ERROR)
    assert not books.cancel(sink)
    books.tell()
    assert sink.told == [(7, ERROR)]
    assert books.is_idle()


def test_a_cancelled_call_takes_no_outcome_and_is_revoked(books: Books, sink: Recorder) -> None:
    first, second, third = enter(books, sink, 0, 1, 2)
    other = Recorder()
    (fourth,) = enter(books, other, 3)
    books.settle(first, ERROR)
    assert books.cancel(sink)
    assert not books.cancel(sink)
    assert books.take_revoked() == [second.key, third.key]
    assert not books.is_idle()  # the sink does not know yet
    books.tell()
    books.settle(second, ERROR)
    assert [number for number, _ in sink.told] == [0, 1, 2]
    assert [type(outcome) for _, outcome in sink.told] == [LookupError, CallCancelledError, CallCancelledError]
    assert books.pending == {fourth.key: fourth}


def test_the_end_gives_every_open_call_its_outcome(books: Books, sink: Recorder) -> None:
    enter(books, sink, 0, 1)
    books.end(None)
    assert not books.pending
    assert not books.incoming
    assert sorted(number for number, _ in sink.told) == [0, 1]
    assert {str(outcome) for _, outcome in sink.told} == {"work has no outcome: the pool was terminated"}


def test_the_end_of_a_broken_pool_names_the_cause(books: Books, sink: Recorder) -> None:
    enter(books, sink, 0)
    books.end(ERROR)
    ((_, outcome),) = sink.told
    assert isinstance(outcome, PoolClosedError)
    assert outcome.__cause__ is ERROR
    assert "LookupError('x')" in str(outcome)


def test_what_is_decided_after_the_end_is_told_at_once(books: Books, sink: Recorder) -> None:
    books.end(None)
    books.decide(sink, 4, ERROR)
    assert sink.told == [(4, ERROR)]


def test_each_outcome_lets_one_more_call_in(sink: Recorder) -> None:
    admission = Admission(3)
    books = Books(admission)
    for _ in range(3):
        assert admission.enter(bool)
    settled, *_ = enter(books, sink, 0, 1, 2)
    books.settle(settled, ERROR)
    books.settle(settled, ERROR)
    assert len(admission._tokens) == 1
    books.cancel(sink)
    assert len(admission._tokens) == 3


def test_to_cancel_one_call_nobody_looks_at_the_others(books: Books) -> None:
    sinks = [Recorder() for _ in range(1000)]
    books.pending = Counted()
    for sink in sinks:
        enter(books, sink, 0)
    assert all(books.cancel(sink) for sink in sinks)
    assert books.pending.looks == len(sinks)
    assert not books.cancel(Recorder())


def test_a_sink_whose_keys_lie_far_apart_is_cancelled_and_others_are_not(books: Books, sink: Recorder) -> None:
    (first,) = enter(books, sink, 0)
    other = Recorder()
    between = enter(books, other, *range(100))
    (last,) = enter(books, sink, 1)
    for job in between[1:]:
        books.settle(job, ERROR)
    assert books.cancel(sink)
    assert books.take_revoked() == [first.key, last.key]
    assert list(books.pending.values()) == between[:1]


def test_what_is_cancelled_before_it_is_taken_in_never_reaches_the_core(books: Books, sink: Recorder) -> None:
    (cancelled,) = enter(books, sink, 0)
    books.incoming.clear()  # it is on its way still
    (kept,) = enter(books, Recorder(), 0)
    assert books.cancel(sink)
    assert books.take_revoked() == [cancelled.key]
    books.incoming.append(cancelled)
    assert books.take_incoming() == [kept]


def test_an_iterable_that_comes_after_the_close_does_not_wait_for_its_reader(books: Books) -> None:
    before, after = Mock(), Mock()
    books.add_feeder(before, None)
    assert not before.stream.release.called
    books.close()
    books.add_feeder(after, None)
    assert before.stream.release.called
    assert after.stream.release.called
