"""How many jobs of a call have ended, and how many a pool may have under way: counting, for RedisPool.

Filled by the client's reader thread. User callbacks are run by the pool's callback thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workd.client.pool_results import CallbackThread

    Sink = Callable[[Any, BaseException | None], None]

OnProgress = Callable[[int, int | None], object]
"""Takes how many jobs have ended, however that was, and how many there are (None while that is not known)."""


class Progress:
    """Tells a callback how far a call has come, never more often than the callback can follow."""

    def __init__(self, callbacks: CallbackThread, callback: OnProgress | None, items: Iterable[Any]) -> None:
        """Begin with none; the total is known from the start if `items` has a length."""
        self._callbacks = callbacks
        self._callback = callback
        self._lock = threading.Lock()
        self._done = self._places = 0
        self._total = len(items) if isinstance(items, Sized) else None
        self._due = False

    def counted(self, sink: Sink) -> Sink:
        """Make a sink that counts, too."""
        self._places += 1
        if self._callback is None:
            return sink

        def count_and_end(value: Any, error: BaseException | None) -> None:
            with self._lock:
                self._done += 1
            self._tell()
            sink(value, error)

        return count_and_end

    def all_sent(self) -> None:
        """Say that there will be no more jobs: now the total is known."""
        with self._lock:
            is_news = self._total != self._places
            self._total = self._places
        if is_news and self._callback is not None:
            self._tell()

    def wait_told(self) -> None:
        """Wait until the callback has been told what there is to tell."""
        if self._callback is not None:
            self._callbacks.flush()

    def _tell(self) -> None:
        with self._lock:
            if self._due:
                return
            self._due = True
        self._callbacks.run(self._report, None)

    def _report(self, _: None) -> None:
        with self._lock:
            self._due = False
            done, total = self._done, self._total
        if self._callback is not None:
            self._callback(done, total)


class Places:
    """At most `most` jobs are under way at once; whoever wants to send more waits for an end. None: any number."""

    def __init__(self, most: int | None) -> None:
        """Begin with all of them free."""
        if most is not None and (type(most) is not int or most < 1):
            raise ValueError(f"max_pending must be a whole number of 1 or more, or None, not {most!r}")
        self._free = most
        self._changed = threading.Condition()
        self._closed = False

    def take(self, wanted: int) -> int:
        """Wait for a free place and take as many as there are, at most `wanted`; 0 once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._free is None or self._free > 0)
            if self._closed:
                return 0
            if self._free is None:
                return wanted
            taken = min(self._free, wanted)
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        """Free places: of jobs that have ended, or that were not sent."""
        if self._free is not None and count:
            with self._changed:
                self._free += count
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
