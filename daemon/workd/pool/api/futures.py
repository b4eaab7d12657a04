"""What `submit` gives back: a `concurrent.futures.Future` that can stop its call."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from workd.pool.api import callbacks, outcomes, waiting

if TYPE_CHECKING:
    from workd.pool.api.engine import Engine
    from workd.pool.api.outcomes import Outcome
    from workd.pool.api.waiting import Waiters

T = TypeVar("T")


class PoolFuture(Future[T]):
    """The future of one call. It stays pending until the outcome is there, so that it can be cancelled until then."""

    def __init__(self, engine: Engine, pool: object) -> None:
        """Wait for one outcome; `pool` is kept alive until then."""
        super().__init__()
        self.first_key = self.last_key = 0
        self._engine = engine
        self._pool: object | None = pool
        self._outcomes: list[Outcome] = []  # the one, until somebody takes it to settle the future
        self._has_come = False
        self._sleepers: Waiters = []  # who waits for the outcome itself

    def cancel(self) -> bool:
        """Have the call not run, or kill its worker if it runs. Return False if the outcome was there already."""
        if not super().cancel():
            return False
        self._engine.cancel(self)
        return True

    def result(self, timeout: float | None = None) -> T:
        """Return the value or raise what the call raised; `TimeoutError` after `timeout` seconds."""
        return super().result(self._settle_in_callback(timeout) if self._engine.in_callback() else timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None; raise `TimeoutError` after `timeout` seconds."""
        return super().exception(self._settle_in_callback(timeout) if self._engine.in_callback() else timeout)

    def settle(self, _number: int, outcome: Outcome) -> Waiters:
        """Take the outcome (the engine's side). Whoever waits for the future is told by the callback thread."""
        self._outcomes.append(outcome)
        self._has_come = True
        self._engine.call_back(self._settle)
        return self._sleepers

    def _settle_in_callback(self, timeout_s: float | None) -> float | None:
        """Do here what the callback thread can't do, since the caller is a callback; return how long to wait still."""
        waiting.wait(self._sleepers, lambda: self._has_come or self.done(), timeout_s)
        callbacks.run(self._settle)
        return None if timeout_s is None else 0.0

    def _settle(self) -> None:
        try:
            outcome = self._outcomes.pop()
        except IndexError:  # a callback that waits for it was quicker
            return
        self._pool = None
        is_value, value = outcomes.read(outcome, interruptible=False)
        if not self.set_running_or_notify_cancel():
            return
        if is_value:
            self.set_result(value)
        else:
            self.set_exception(value)
