"""What a call to `workd.Pool` gives back: the standard library's `AsyncResult`, without its ways to hang.

Settled by the engine (see `outcomes.Sink`), read by any thread of the host program. Values are unpickled where somebody
wants them: in the thread that calls `get`, or in the callback thread if there is a callback.
"""

from __future__ import annotations

import time
from collections import deque
from multiprocessing import TimeoutError as PoolTimeoutError
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workd.pool.api import outcomes, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.api.engine import Engine
    from workd.pool.api.outcomes import Outcome
    from workd.pool.api.waiting import Waiters

T_co = TypeVar("T_co", covariant=True)


class AsyncResult(Generic[T_co]):
    """The outcome of one call, when it is there."""

    __slots__ = (
        "__weakref__",
        "_callback",
        "_done",
        "_engine",
        "_error_callback",
        "_is_due",
        "_is_value",
        "_outcome",
        "_pool",
        "_reading",
        "_value",
        "_waiters",
        "first_key",
        "last_key",
    )

    def __init__(
        self,
        engine: Engine,
        pool: object,
        callback: Callable[[T_co], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Wait for one outcome; one of the callbacks is called with it. `pool` is kept alive until then."""
        self.first_key = self.last_key = 0
        self._engine = engine
        self._pool = pool
        self._callback = callback
        self._error_callback = error_callback
        self._done = False
        self._is_due = False  # the outcome is there, but not everybody was called back
        self._waiters: Waiters = []
        self._reading = RLock()  # whoever unpickles; nobody waits for it in the loop
        self._outcome: Outcome | None = None  # until it is read
        self._is_value = False
        self._value: Any = None  # or the exception

    def ready(self) -> bool:
        """Say whether the outcome is there."""
        return self._done

    def successful(self) -> bool:
        """Say whether the call returned. Raises `ValueError` before that is known."""
        if not self._done:
            msg = f"{self!r} not ready"
            raise ValueError(msg)
        self._read()
        return self._is_value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the outcome is there, or for `timeout` seconds."""
        if not self._done:
            self._wait(self.ready, timeout)

    def get(self, timeout: float | None = None) -> T_co:
        """Return the value or raise what the call raised; `multiprocessing.TimeoutError` after `timeout` seconds."""
        if not self._done and not self._wait(self.ready, timeout):
            raise PoolTimeoutError
        self._read()
        if not self._is_value:
            raise self._value
        value: T_co = self._value
        return value

    def cancel(self) -> bool:
        """Have the call not run, or kill its worker if it runs; it raises `CallCancelledError` then.

        Return False, and change nothing, if the outcome was there already.
        """
        return not self._done and self._engine.cancel(self)

    def settle(self, _number: int, outcome: Outcome) -> Waiters:
        """Take the outcome (the engine's side)."""
        self._outcome = outcome
        return self._arrive()

    def _wait(self, is_there: Callable[[], bool], timeout_s: float | None) -> bool:
        if not self._engine.in_callback():
            return waiting.wait(self._waiters, is_there, timeout_s)
        # This very thread is to call the callbacks of this result: so here.
        if not waiting.wait(self._waiters, lambda: self._done or self._is_due, timeout_s):
            return False
        if not self._done:
            from workd.pool.api import callbacks  # not for the workers, which import this module with the script

            callbacks.run(self._call_back)
        return True

    def _arrive(self) -> Waiters:
        if self._callback is None and self._error_callback is None:
            self._finish()
        else:
            self._is_due = True
            self._engine.call_back(self._call_back)
        return self._waiters

    def _call_back(self) -> None:
        """Call back, then let those who wait have the outcome."""
        try:
            self._read(interruptible=False)
            callback = self._callback if self._is_value else self._error_callback
            self._callback = self._error_callback = None  # first: it may wait for this very result
            if callback is not None:
                callback(self._value)
        finally:
            self._finish()
            waiting.wake(self._waiters)

    def _finish(self) -> None:
        self._done = True
        self._pool = None

    def _read(self, *, interruptible: bool = True) -> None:
        if self._outcome is None:
            return
        with self._reading:
            if self._outcome is not None:
                self._is_value, self._value = outcomes.read(self._outcome, interruptible=interruptible)
                self._outcome = None


class MapResult(AsyncResult[list[T_co]]):
    """The outcomes of all chunks of a map, in order; the first exception is the outcome of all."""

    __slots__ = ("_arrived", "_error", "_left", "_parts")

    def __init__(
        self,
        engine: Engine,
        pool: object,
        chunks: int,
        callback: Callable[[list[T_co]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Wait for `chunks` outcomes. A map of nothing is done, and as in the standard library calls nobody back."""
        super().__init__(engine, pool, callback, error_callback)
        self._left = chunks  # written by whoever settles
        self._arrived: deque[tuple[int, Outcome]] = deque()
        self._parts: list[list[T_co]] = [[] for _ in range(chunks)]  # written, as all that follows, by whoever reads
        self._error: BaseException | None = None
        if not chunks:
            self._is_value, self._value = True, []
            self._finish()

    def get(self, timeout: float | None = None) -> list[T_co]:
        """Return all values, or raise the first exception once every chunk has ended.

        Chunks are unpickled as they come, while the workers are at the others.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._done:
            self._read_arrived()
            left_s = None if deadline is None else deadline - time.monotonic()
            if not self._wait(self._has_news, left_s):
                raise PoolTimeoutError
        return super().get()

    def settle(self, number: int, outcome: Outcome) -> Waiters:
        """Take the outcome of one chunk (the engine's side)."""
        self._arrived.append((number, outcome))
        self._left -= 1
        return self._waiters if self._left else self._arrive()

    def _has_news(self) -> bool:
        return self._done or bool(self._arrived)

    def _read_arrived(self, *, interruptible: bool = True) -> None:
        with self._reading:
            while self._arrived:
                number, outcome = self._arrived[0]
                is_value, value = outcomes.read(outcome, interruptible=interruptible)
                self._arrived.popleft()  # only now: a KeyboardInterrupt while unpickling must not lose it
                if is_value:
                    self._parts[number] = value
                elif self._error is None:
                    self._error = value

    def _read(self, *, interruptible: bool = True) -> None:
        with self._reading:
            self._read_arrived(interruptible=interruptible)
            if self._error is not None:
                self._is_value, self._value = False, self._error
            elif not self._is_value:
                self._is_value, self._value = True, [value for part in self._parts for value in part]
            self._parts = []
