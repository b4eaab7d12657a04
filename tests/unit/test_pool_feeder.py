"""Reading the iterable of an imap: how far ahead, and what its end, its errors and a cancellation leave."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import eventually
from workd.errors import CallCancelledError
from workd.pool.api import waiting
from workd.pool.api.feeder import CHUNKS_PER_WORKER, MAX_BYTES_AHEAD, UNREAD_WINDOWS, Feeder
from workd.pool.api.imap import IMapIterator, IMapUnorderedIterator, Stream
from workd.pool.api.terms import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workd.pool.api.outcomes import Sink
    from workd.pool.api.terms import Terms
    from workd.pool.pickling import Call


class Engine:
    """Takes calls and does nothing with them."""

    def __init__(self, bytes_each: int = 1) -> None:
        self.size = 2
        self.submitted: list[int] = []
        self.cancelled: list[Stream] = []
        self.feeders: set[Feeder] = set()
        self.ends_at = -1  # the call during which the stream is cancelled
        self._bytes_each = bytes_each

    def submit(self, call: Call, task: str, sink: Stream, number: int, terms: Terms) -> int:
        self.submitted.append(number)
        if number == self.ends_at:
            sink.end(self.decide, CallCancelledError("cancelled"))
        return self._bytes_each

    def cancel(self, sink: Stream) -> bool:
        self.cancelled.append(sink)
        return True

    def decide(self, sink: Sink, number: int, error: BaseException) -> None:
        waiting.wake(sink.settle(number, error))

    def add_feeder(self, feeder: Feeder) -> None:
        self.feeders.add(feeder)

    def remove_feeder(self, feeder: Feeder) -> None:
        self.feeders.discard(feeder)


def calls(numbers: Iterator[int]) -> Iterator[tuple[Call, Terms]]:
    return (((abs, (number,), {}), UNLIMITED) for number in numbers)


def feed(engine: Any, numbers: Iterator[int], *, waits_for_reader: bool = True) -> Stream:
    stream = Stream(waits_for_reader=waits_for_reader)
    Feeder(engine, stream, calls(numbers), "abs").start()
    return stream


def test_everything_is_handed_in_with_its_number() -> None:
    engine = Engine()
    stream = feed(engine, iter(range(10)))
    eventually(lambda: not engine.feeders)
    assert engine.submitted == list(range(10))
    assert stream.length == 10
    assert not stream.arrived


@pytest.mark.parametrize("error", [LookupError("x"), SystemExit(3)])
def test_an_exception_of_the_iterable_is_the_last_outcome(error: BaseException) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise error

    engine = Engine()
    stream = feed(engine, numbers())
    eventually(lambda: not engine.feeders)
    assert stream.length == 2
    assert list(stream.arrived) == [(1, error)]


@pytest.mark.parametrize(
    ("bytes_each", "ahead"),
    [(1, 2 * CHUNKS_PER_WORKER), (MAX_BYTES_AHEAD // 10, 10), (10 * MAX_BYTES_AHEAD, 4)],
)
def test_it_reads_a_window_ahead_and_then_half_a_window_at_a_time(bytes_each: int, ahead: int) -> None:
    engine = Engine(bytes_each)
    stream = feed(engine, itertools.count())
    eventually(lambda: stream.feeders)
    assert len(engine.submitted) == ahead
    for number in range(ahead // 2):
        assert stream.feeders, "it was woken for less than half a window"
        stream.settle(number, LookupError())
    eventually(lambda: len(engine.submitted) == ahead + ahead // 2)
    stream.end(engine.decide)
    eventually(lambda: not engine.feeders)


def test_what_was_on_its_way_when_the_stream_was_cancelled_is_cancelled_too() -> None:
    engine = Engine()
    engine.ends_at = 3
    stream = feed(engine, itertools.count())
    eventually(lambda: not engine.feeders)
    assert engine.submitted == [0, 1, 2, 3]
    assert engine.cancelled == [stream]


# ── the end of a stream, whoever says it ──

CANCELLED = CallCancelledError("cancelled")
VALUE: Any = LookupError("a value")


def read_all(values: IMapUnorderedIterator[Any]) -> list[object]:
    """Return every outcome; raise `TimeoutError` if the reader would wait for ever."""
    found: list[object] = []
    while True:
        try:
            values.next(0)
        except StopIteration:
            return found
        except (CallCancelledError, LookupError) as error:
            found.append(error)


@pytest.mark.parametrize("kind", [IMapIterator, IMapUnorderedIterator])
@pytest.mark.parametrize("settled_first", [True, False])
def test_a_chunk_that_is_on_its_way_at_the_end_does_not_hang_the_reader(kind: Any, *, settled_first: bool) -> None:
    engine: Any = Engine()
    stream = Stream()
    values = kind(engine, None, stream)
    stream.fed = 1
    stream.settle(0, VALUE)
    found = []
    if settled_first:  # before the feeder has counted it
        stream.settle(1, VALUE)
        with pytest.raises(LookupError):
            values.next(0)
        with pytest.raises(LookupError):
            values.next(0)
        found = [VALUE, VALUE]
    stream.end(engine.decide, CANCELLED)
    stream.fed += 1
    if not settled_first:
        stream.settle(1, VALUE)
    found += read_all(values)
    assert found == ([VALUE, VALUE, CANCELLED] if settled_first else [VALUE, CANCELLED])
    assert read_all(values) == []


def test_of_two_who_end_a_stream_at_the_same_time_one_is_heard() -> None:
    engine: Any = Engine()
    stream = Stream()

    def decide_late(sink: Sink, number: int, error: BaseException) -> None:
        engine.decide(sink, number, LookupError("somebody else was faster"))
        engine.decide(sink, number, error)

    stream.end(decide_late, CANCELLED)
    (error,) = read_all(IMapUnorderedIterator(engine, None, stream))
    assert str(error) == "somebody else was faster"
    assert stream.length == 1


# ── slow readers ──

WINDOW = 2 * CHUNKS_PER_WORKER
MOST_UNREAD = UNREAD_WINDOWS * WINDOW


def settle_all(engine: Engine, stream: Stream) -> None:
    while stream.settled < len(engine.submitted):
        stream.settle(stream.settled, VALUE)


def settle_until_it_ends(engine: Engine, stream: Stream) -> None:
    def has_ended() -> bool:
        settle_all(engine, stream)
        return not engine.feeders

    eventually(has_ended)


def settle_until_it_waits_for_the_reader(engine: Engine, stream: Stream) -> None:
    def waits_for_reader() -> bool:
        settle_all(engine, stream)
        return bool(stream.feeders) and stream.settled == stream.fed

    eventually(waits_for_reader)


def test_it_waits_for_a_slow_reader_and_then_reads_half_a_window_at_a_time() -> None:
    engine: Any = Engine()
    stream = feed(engine, itertools.count())
    values: Any = IMapIterator(engine, None, stream)
    settle_until_it_waits_for_the_reader(engine, stream)
    assert len(engine.submitted) == MOST_UNREAD
    for _ in range(WINDOW // 2):
        assert stream.feeders, "it was woken for less than half a window"
        with pytest.raises(LookupError):
            values.next(0)
    settle_until_it_waits_for_the_reader(engine, stream)
    assert len(engine.submitted) == MOST_UNREAD + WINDOW // 2
    values.cancel()
    eventually(lambda: not engine.feeders)


@pytest.mark.parametrize("let_go", [Stream.release, lambda stream: IMapIterator(None, None, stream).__del__()])  # type: ignore[arg-type]
def test_it_does_not_wait_for_who_will_never_read(let_go: Callable[[Stream], None]) -> None:
    engine: Any = Engine()
    stream = feed(engine, iter(range(3 * MOST_UNREAD)))
    settle_until_it_waits_for_the_reader(engine, stream)
    let_go(stream)
    settle_until_it_ends(engine, stream)
    assert len(engine.submitted) == 3 * MOST_UNREAD


def test_it_does_not_wait_for_a_reader_whose_values_are_limited_anyway() -> None:
    engine: Any = Engine()
    stream = feed(engine, iter(range(3 * MOST_UNREAD)), waits_for_reader=False)
    settle_until_it_ends(engine, stream)
    assert len(engine.submitted) == 3 * MOST_UNREAD
