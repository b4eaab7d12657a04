"""What `imap` gives back: an iterator over outcomes that come in while it is being read.

    feeder's thread ── reads the iterable, at most `window` chunks ahead ──▶ engine
    engine's thread ── settles ──▶ Stream ◀── reads, unpickles ── the host program's thread

The `Stream` is what the three share: each field has one writer, or is a flag that only ever turns one way. It does not
know the iterator, which may be dropped while calls are under way: they are run to the end, as in the standard library,
and their values are thrown away.

Anybody may end a stream: the feeder, a reader who cancels, the end of the pool, all at the same time and while one more
chunk is on its way. So the end is one more thing for the engine to settle, which does one after the other: there it is
decided how many outcomes the reader gets, and what comes later is dropped.
"""

from __future__ import annotations

import time
from collections import deque
from multiprocessing import TimeoutError as PoolTimeoutError
from threading import RLock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from workd.errors import CallCancelledError
from workd.pool.api import outcomes, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from workd.pool.api.engine import Engine
    from workd.pool.api.outcomes import Outcome, Sink
    from workd.pool.api.waiting import Waiters

T = TypeVar("T")

END: Final = -1  # the number under which the end of a stream is settled
EXHAUSTED: Final = StopIteration()  # its outcome, if nothing went wrong


class Stream:
    """Where the outcomes of one imap arrive."""

    __slots__ = (
        "_over",
        "arrived",
        "dropped",
        "fed",
        "feeders",
        "first_key",
        "given",
        "last_key",
        "length",
        "low_given",
        "low_settled",
        "reach",
        "readers",
        "settled",
        "waits_for_reader",
    )

    def __init__(self, *, waits_for_reader: bool = True) -> None:
        """Wait for an unknown number of outcomes, not for too many at a time if they are to wait for their reader."""
        self.arrived: deque[tuple[int, Outcome]] = deque()  # engine to reader
        self.fed = 0  # chunks handed in; the feeder's
        self.first_key = self.last_key = 0  # the feeder's
        self.low_settled = self.low_given = 0  # what the feeder waits for; the feeder's
        self.settled = 0  # chunks with an outcome; the engine's
        self.reach = 0  # the highest number that has an outcome, and one; the engine's
        self.length: int | None = None  # once it is known how many outcomes there will be; the engine's
        self.given = 0  # outcomes read; the reader's
        self.waits_for_reader = waits_for_reader  # until `release`
        self.dropped = False  # nobody will read any more
        self._over = False  # no more chunks are to be handed in
        self.readers: Waiters = []
        self.feeders: Waiters = []

    def settle(self, number: int, outcome: Outcome) -> Waiters:
        """Take one outcome, or the end (the engine's side)."""
        if number >= self.reach:
            if self.length is not None:  # it was on its way when the stream ended, and is not counted
                return self.readers
            self.reach = number + 1
        elif number == END:
            self._settle_end(outcome)
            return self.readers
        self.settled += 1
        if not self.dropped:
            self.arrived.append((number, outcome))
        if self.feeders and self.settled >= self.low_settled and self.has_room():
            waiting.wake(self.feeders)
        return self.readers

    def is_over(self) -> bool:
        """Say whether no more chunks are to be handed in."""
        return self._over

    def has_room(self) -> bool:
        """Say whether there is the room that the feeder waits for."""
        return self.settled >= self.low_settled and (self.given >= self.low_given or not self.waits_for_reader)

    def end(self, decide: Callable[[Sink, int, BaseException], None], error: BaseException = EXHAUSTED) -> None:
        """Hand in no more chunks; an `error` is the last outcome then. The first of which `decide` is told is heard."""
        if self._over:
            return
        self._over = True
        waiting.wake(self.feeders)
        decide(self, END, error)

    def release(self) -> None:
        """Hand in the rest whether somebody reads or not."""
        self.waits_for_reader = False
        waiting.wake(self.feeders)

    def _settle_end(self, error: Outcome) -> None:
        if self.length is not None:
            return
        self.reach = max(self.reach, self.fed)
        if error is EXHAUSTED:
            self.length = self.reach
            return
        if not self.dropped:
            self.arrived.append((self.reach, error))
        self.length = self.reach + 1


class IMapUnorderedIterator(Generic[T]):
    """The values in the order in which they come. An exception of a call is raised in its place; the rest follows."""

    def __init__(self, engine: Engine, pool: object, stream: Stream) -> None:
        """Read `stream`; `pool` is kept alive until its end."""
        self._engine = engine
        self._pool: object | None = pool
        self._stream = stream
        self._lock = RLock()  # among threads that read the same iterator; nobody unpickles or waits under it

    def __iter__(self) -> Self:
        return self

    def next(self, timeout: float | None = None) -> T:
        """Return the next value or raise its exception; `multiprocessing.TimeoutError` after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                if (outcome := self._take()) is not None:
                    break
                if self._stream.given == self._stream.length:
                    self._pool = None
                    raise StopIteration
            left_s = None if deadline is None else deadline - time.monotonic()
            if not waiting.wait(self._stream.readers, self._has_news, left_s):
                raise PoolTimeoutError
        is_value, value = outcomes.read(outcome)
        if not is_value:
            raise value
        result: T = value
        return result

    __next__ = next  # noqa: A003 - the method

    def cancel(self) -> bool:
        """Read no more of the iterable, and stop every call that has no outcome: each raises `CallCancelledError`.

        Return False, and change nothing, if all outcomes were there already.
        """
        stream = self._stream
        unread = not stream.is_over()
        stream.end(self._engine.decide, CallCancelledError("cancelled before the rest of the iterable was read"))
        return self._engine.cancel(stream) or unread

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.dropped = True
            stream.arrived.clear()
            stream.release()

    def _take(self) -> Outcome | None:
        stream = self._stream
        try:
            _, outcome = stream.arrived.popleft()
        except IndexError:
            return None
        stream.given += 1
        if stream.given == stream.low_given:
            waiting.wake(stream.feeders)
        return outcome

    def _has_news(self) -> bool:
        return bool(self._stream.arrived) or self._stream.given == self._stream.length


class IMapIterator(IMapUnorderedIterator[T]):
    """The values in the order of the iterable."""

    def __init__(self, engine: Engine, pool: object, stream: Stream) -> None:
        """Read `stream` in order."""
        super().__init__(engine, pool, stream)
        self._early: dict[int, Outcome] = {}  # what has come before its turn

    def _take(self) -> Outcome | None:
        early, stream = self._early, self._stream
        number = stream.given
        if (outcome := early.pop(number, None) if early else None) is None:
            while True:
                try:
                    its_number, outcome = stream.arrived.popleft()
                except IndexError:
                    return None
                if its_number == number:
                    break
                early[its_number] = outcome
        stream.given += 1
        if stream.given == stream.low_given:
            waiting.wake(stream.feeders)
        return outcome


class FlatIterator(Generic[T]):
    """The values of an imap that was cut into chunks. It ends after an exception, as a generator does."""

    def __init__(self, chunks: IMapUnorderedIterator[list[T]]) -> None:
        """Read chunk by chunk."""
        self._chunks = chunks
        self._values: Iterator[T] = iter(())
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """Return the next value or raise its chunk's exception; `timeout` is for the next chunk, in seconds."""
        while not self._over:
            for value in self._values:
                return value
            try:
                self._values = iter(self._chunks.next(timeout))
            except PoolTimeoutError:
                raise
            except BaseException:
                self._over = True
                raise
        raise StopIteration

    def cancel(self) -> bool:
        """Stop every chunk that has no outcome, as the iterator without chunks does."""
        return self._chunks.cancel()
