"""What RedisPool's methods return: values that come one day, alone or many together.

Owned here: the counterparts of `multiprocessing.pool`'s AsyncResult, MapResult and IMapIterator, with the
same methods and meanings. Filled by the client's reader thread, read by any thread. User callbacks are never
run by the reader, because a slow one would hold up every result.
"""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workd.errors import ResultTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_LOOK_S = 1.0


class PoolTimeoutError(ResultTimeoutError, multiprocessing.TimeoutError):
    """It has not come yet. Caught by those who catch `multiprocessing.TimeoutError`, too."""


class CallbackThread:
    """Runs users' callbacks one after the other; what they raise is reported as any thread's exception is."""

    def __init__(self) -> None:
        """Begin without a thread: most pools never need it."""
        self._due: queue.SimpleQueue[tuple[Callable[[Any], object], Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, callback: Callable[[Any], object], argument: Any) -> None:
        """Have it called soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_call_what_is_due, args=(self._due,), name="workd-callbacks", daemon=True
                )
                self._thread.start()
                weakref.finalize(self, self._due.put, None).atexit = False  # a pool may be dropped without a word
        self._due.put((callback, argument))

    def flush(self) -> None:
        """Wait until all that is due has been called; inside a callback that would be for ever, and is nothing."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            told = threading.Event()
            self._due.put((lambda _: told.set(), None))
            while not told.wait(_LOOK_S) and thread.is_alive():
                pass

    def stop(self, *, join: bool) -> None:
        """Run what is due, then end; safe twice, and safe before any callback."""
        with self._lock:  # another thread may be about to start it
            thread = self._thread
        if thread is not None:
            self._due.put(None)
            if join and thread is not threading.current_thread():
                thread.join()


def _call_what_is_due(calls: queue.SimpleQueue[tuple[Callable[[Any], object], Any] | None]) -> None:
    """Live in the thread, until None comes; the thread holds nothing of the pool."""
    while (due := calls.get()) is not None:
        callback, argument = due
        try:
            callback(argument)
        except Exception:  # noqa: BLE001 (the user's own; the next callback is another's)
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        del due, callback, argument  # they may hold the pool


class AsyncResult(Generic[T]):
    """What `apply_async` returns: one value or one exception, to come."""

    def __init__(
        self,
        callbacks: CallbackThread,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Begin with nothing; `end` is called once."""
        self._callbacks = callbacks
        self._callback = callback
        self._error_callback = error_callback
        self._ended = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    def ready(self) -> bool:
        """Say whether it has come."""
        return self._ended.is_set()

    def successful(self) -> bool:
        """Say whether it is a value; ValueError if it has not come."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has come, at most `timeout` seconds."""
        self._ended.wait(timeout)

    def get(self, timeout: float | None = None) -> T:
        """Return the value once it has come, or raise what the job ended with.

        Raises PoolTimeoutError (a `multiprocessing.TimeoutError`) after `timeout` seconds; JobFailedError,
        JobCancelledError or JobExpiredError, which carry the outcome; PoolClosedError after `terminate`.
        """
        if not self._ended.wait(timeout):
            raise PoolTimeoutError(repr(self), timeout or 0.0)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def end(self, value: T | None, error: BaseException | None) -> None:
        """Say what came of it; called by the pool."""
        self._value, self._error = value, error
        self._ended.set()
        if error is None:
            if self._callback is not None:
                self._callbacks.run(self._callback, value)
        elif self._error_callback is not None:
            self._callbacks.run(self._error_callback, error)


class MapResult(AsyncResult[list[T]]):
    """What `map_async` and `starmap_async` return: all values in order, or the exception that came first.

    As in the standard library it comes when every job has ended, also if one has failed.
    """

    _values: dict[int, T]
    _first_error: BaseException | None
    _lock: threading.Lock
    _missing: int

    def begin(self) -> MapResult[T]:
        """Begin with no places; returns itself."""
        self._values = {}
        self._first_error = None
        self._lock = threading.Lock()
        self._missing = 1  # it cannot end before `no_more`
        return self

    def place(self, index: int) -> Callable[[Any, BaseException | None], None]:
        """Make a place for one more value, and give what is to be called with it."""
        with self._lock:
            self._missing += 1

        def end_one(value: T, error: BaseException | None) -> None:
            with self._lock:
                if error is None:
                    self._values[index] = value
                else:
                    self._first_error = self._first_error or error
            self.no_more()

        return end_one

    def no_more(self) -> None:
        """Count down; said once for all places, after the last was made."""
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        if self._first_error is not None:
            self.end(None, self._first_error)
        else:
            self.end([self._values[index] for index in sorted(self._values)], None)


class Arrivals(Generic[T]):
    """What `imap` and `imap_unordered` return: an iterator whose `next` may be given a timeout."""

    def __init__(self, shelf: Shelf[T], pool: object) -> None:
        """Give what is on the shelf, and keep the pool that fills it."""
        self._shelf = shelf
        self._pool = pool

    def __iter__(self) -> Iterator[T]:
        """Return itself."""
        return self

    def __next__(self) -> T:
        """Return the next value, or raise what its job ended with."""
        return self._shelf.next()

    def next(self, timeout: float | None = None) -> T:
        """Return the next value, waiting at most `timeout` seconds; raises as `AsyncResult.get`."""
        return self._shelf.next(timeout)


class Shelf(Generic[T]):
    """Where the values of an `imap` are put as they come, and taken from by its `Arrivals`.

    A feeder makes the places, at most `window` ahead of what has been taken, so that neither side runs away.
    """

    def __init__(self, window: int, *, ordered: bool) -> None:
        """Begin with no places."""
        self._window = window
        self._ordered = ordered
        self._changed = threading.Condition()
        self._came: dict[int, tuple[T | None, BaseException | None]] = {}
        self._places = 0
        self._taken = 0
        self._closed: BaseException | bool = False  # True: no more places; an exception: that is the last thing to say

    def next(self, timeout: float | None = None) -> T:
        """Return the next value, waiting at most `timeout` seconds; raises as `AsyncResult.get`."""
        with self._changed:
            if not self._changed.wait_for(self._can_answer, timeout):
                raise PoolTimeoutError(f"imap value {self._taken}", timeout or 0.0)
            index = self._next_index()
            if index is None:
                if isinstance(self._closed, BaseException):
                    error, self._closed = self._closed, True
                    raise error
                raise StopIteration
            self._taken += 1
            value, failure = self._came.pop(index)
            self._changed.notify_all()
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]

    def make_room(self, count: int) -> bool:
        """Wait until `count` more places fit the window; False: nobody will take them any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._places + count - self._taken <= self._window)
            return not self._closed

    def take_all(self) -> None:
        """Let the feeder run as far ahead as it can."""
        with self._changed:
            self._window = sys.maxsize
            self._changed.notify_all()

    def place(self, index: int) -> Callable[[Any, BaseException | None], None]:
        """Make a place for one more value, and give what is to be called with it."""

        def end_one(value: T | None, error: BaseException | None) -> None:
            with self._changed:
                self._came[index] = value, error
                self._changed.notify_all()

        with self._changed:
            self._places += 1
        return end_one

    def no_more(self, error: BaseException | None = None) -> None:
        """Say that no further places will be made, or why they cannot be; the first word counts."""
        with self._changed:
            self._closed = self._closed or error or True
            self._changed.notify_all()

    def _next_index(self) -> int | None:
        if not self._ordered:
            return next(iter(self._came), None)
        return self._taken if self._taken in self._came else None

    def _can_answer(self) -> bool:
        return self._next_index() is not None or (bool(self._closed) and self._taken == self._places)
