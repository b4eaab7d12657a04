"""The thread that reads the iterable of one imap, and hands its items in.

An iterable is code of the host program: it may block for ever, raise, or never end. So each has a thread of its own,
which is a daemon, reads at most a window ahead of the outcomes, and leaves when the iterable ends, the imap is
cancelled or the pool is terminated; one that is stuck in `next` is not waited for then.

It also waits for a slow reader, so that an endless iterable does not fill the memory with values, but only where that
can end: not for one who has dropped the iterator, nor for one who has closed the pool. And not where the values that
nobody has read are limited already, by the length of what is read.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final

from workd.pool.api import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd.pool.api.engine import Engine
    from workd.pool.api.imap import Stream
    from workd.pool.api.terms import Terms
    from workd.pool.pickling import Call


CHUNKS_PER_WORKER: Final = 512  # unfinished at a time: enough for two full slots while one is being refilled
UNREAD_WINDOWS: Final = 2  # unfinished or unread at a time, in windows: a reader may be late now and then
MAX_BYTES_AHEAD: Final = 32 * 1024 * 1024  # pickled and unfinished; large items are read less far ahead


class Feeder:
    """Feeds one stream."""

    def __init__(self, engine: Engine, stream: Stream, calls: Iterator[tuple[Call, Terms]], task: str) -> None:
        """Prepare to make each of `calls`, whose iteration reads the iterable; `task` is what they are called."""
        self.stream = stream
        self._engine = engine
        self._calls = calls
        self._task = task
        self._bytes = 0  # of all chunks so far
        self._thread = threading.Thread(target=self._run, name="workd-pool-imap", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._engine.add_feeder(self)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._feed()
            self.stream.end(self._engine.decide)
        except BaseException as error:  # noqa: BLE001 - the iterable's, or a pickler's SystemExit: the last outcome
            self.stream.end(self._engine.decide, error)
        finally:
            self._engine.remove_feeder(self)
            del self._calls  # what it holds may be the last to hold the pool

    def _feed(self) -> None:
        """Hand in every item."""
        stream, engine, task = self.stream, self._engine, self._task
        window = unread = 0
        for call, terms in self._calls:
            if stream.fed - stream.settled >= window or stream.fed - stream.given >= unread:
                window, unread = self._wait_for_room()
            if stream.is_over():  # cancelled, or the pool has ended
                return
            self._bytes += engine.submit(call, task, stream, stream.fed, terms)
            stream.fed += 1
            if stream.is_over():  # cancelled while this one was on its way
                engine.cancel(stream)

    def _wait_for_room(self) -> tuple[int, int]:
        """Wait until there is room for many at a time: a thread is not woken for each outcome.

        Return how many may be unfinished, and how many unfinished or unread.
        """
        stream, window = self.stream, self._window()
        unread = UNREAD_WINDOWS * window
        if stream.fed - stream.settled >= window or stream.fed - stream.given >= unread:
            stream.low_settled = stream.fed - window // 2
            stream.low_given = stream.fed - unread + window // 2
            waiting.wait(stream.feeders, lambda: stream.has_room() or stream.is_over())
        return window, unread if stream.waits_for_reader else sys.maxsize

    def _window(self) -> int:
        """Return how many chunks may be unfinished, by what they took so far."""
        least, most = 2 * self._engine.size, CHUNKS_PER_WORKER * self._engine.size
        return max(least, min(most, MAX_BYTES_AHEAD * self.stream.fed // max(1, self._bytes)))
