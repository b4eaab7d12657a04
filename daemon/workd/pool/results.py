"""What a call to `workd.Pool` gives back: the standard library's `AsyncResult`, without its ways to hang.

Filled by the pool's callback thread, read by any thread of the host program.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

log = structlog.get_logger("workd.pool")


class AsyncResult(Generic[T]):
    """The outcome of one call, when it is there."""

    def __init__(
        self,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Wait for one outcome; one of the callbacks is called with it, in the pool's callback thread."""
        self._event = threading.Event()
        self._callback = callback
        self._error_callback = error_callback
        self._value: Any = None
        self._error: BaseException | None = None

    def ready(self) -> bool:
        """Say whether the outcome is there."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Say whether the call returned. Raises `ValueError` before that is known."""
        if not self.ready():
            msg = f"{self!r} not ready"
            raise ValueError(msg)
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the outcome is there, or for `timeout` seconds."""
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> T:
        """Return the value or raise what the call raised; `multiprocessing.TimeoutError` after `timeout` seconds."""
        if not self._event.wait(timeout):
            from multiprocessing import TimeoutError as PoolTimeoutError

            raise PoolTimeoutError
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def succeed(self, value: T) -> None:
        """Take the value (the pool's side)."""
        self._value = value
        self._end(self._callback, value)

    def fail(self, error: BaseException) -> None:
        """Take the exception (the pool's side)."""
        self._error = error
        self._end(self._error_callback, error)

    def _end(self, callback: Callable[[Any], object] | None, argument: object) -> None:
        if callback is not None:
            try:
                callback(argument)
            except Exception:
                # One call's callback must not cost the outcomes of all others.
                log.exception("a callback of the pool raised")
        self._event.set()


class MapResult(AsyncResult[list[T]]):
    """The outcomes of all chunks of a map, in order; the first exception is the outcome of all."""

    def __init__(
        self,
        chunks: int,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Wait for `chunks` outcomes."""
        super().__init__(callback, error_callback)
        self._parts: list[list[T]] = [[] for _ in range(chunks)]
        self._left = chunks
        self._first_error: BaseException | None = None
        if not chunks:
            self.succeed([])

    def chunk(self, number: int) -> Part[T]:
        """Return where the outcome of one chunk goes."""
        return Part(self, number)

    def take(self, number: int, values: list[T], error: BaseException | None) -> None:
        """Take the outcome of one chunk (the pool's side)."""
        self._left -= 1
        self._parts[number] = values
        if error is not None and self._first_error is None:
            self._first_error = error
        if self._left:
            return
        if self._first_error is not None:
            self.fail(self._first_error)
        else:
            self.succeed([value for part in self._parts for value in part])


class Part(Generic[T]):
    """One chunk's place in a map's result."""

    __slots__ = ("_number", "_whole")

    def __init__(self, whole: MapResult[T], number: int) -> None:
        """Belong to `whole`."""
        self._whole = whole
        self._number = number

    def succeed(self, values: list[T]) -> None:
        """Take the chunk's values."""
        self._whole.take(self._number, values, None)

    def fail(self, error: BaseException) -> None:
        """Take what the chunk raised."""
        self._whole.take(self._number, [], error)
