"""From somebody's wish that a job stops to its end: softly first, then hard.

A part of the dispatcher. A job that has not started ends at once. One that runs is asked (`context().should_stop()`
turns true; a task with a soft timeout gets its `SoftTimeout`), and killed when the grace is over. However its run ends
from then on, its outcome is `cancelled`: whoever was told that a job is being cancelled can rely on it, and half a
result must not pass for a whole one. It is never run again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from workd import retry
from workd.flights import about
from workd.log import get_logger
from workd.pool import stops

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.broker.ops import Settlement
    from workd.flights import Flight
    from workd.pool.core import ProcessPool
    from workd.retry import Event
    from workd.verdicts import Clerk, Times

BEFORE_IT_STARTED: Final = "cancelled before it started"
WHILE_IT_RAN: Final = "cancelled while it was running: the run was stopped"
AND_IT_STOPPED: Final = "cancelled while it was running: the run was asked to stop, and ended by itself"
KILLED: Final = "cancelled"

log = get_logger("workd.stopping")


class Stops:
    """The jobs that somebody wants stopped, until they have ended."""

    def __init__(self, clerk: Clerk, settle: Callable[[Flight, Settlement], None], grace_s: float) -> None:
        """`grace_s`: what a running job has between the question and the kill."""
        self._clerk = clerk
        self._settle = settle
        self.grace_s = grace_s

    def ask(self, pool: ProcessPool, flight: Flight) -> None:
        """Stop one job. Asked again, nothing changes: the grace is not begun anew."""
        if flight.cancelled or _is_decided(flight):
            return
        if not flight.pool_key:  # it waits for its admission, which looks for the wish as well
            return
        job = stops.ask_to_stop(pool, flight.pool_key)
        if _is_decided(flight):
            return  # its result was in the pipe already
        flight.cancelled = True
        if job is not None:
            log.info("a job is cancelled before it started", **about(flight))
            self._settle(flight, self._clerk.cancelled(flight, BEFORE_IT_STARTED))
            return
        log.info("a running job is asked to stop", grace_s=self.grace_s, **about(flight))
        asyncio.get_running_loop().call_later(self.grace_s, self._kill, pool, flight, flight.pool_key)

    def _kill(self, pool: ProcessPool, flight: Flight, pool_key: int) -> None:
        if not _is_decided(flight) and not flight.dropped:
            pool.cancel(pool_key, KILLED)

    def ended(self, flight: Flight, run: Times) -> None:
        """Record the end of a run that was asked to stop and has ended by itself, however."""
        self._settle(flight, self._clerk.cancelled(flight, AND_IT_STOPPED, run=run, is_attempt=True))

    def lost(self, flight: Flight, run: Times) -> None:
        """Record the end of a run whose worker is dead, whoever killed it."""
        self._settle(flight, self._clerk.cancelled(flight, WHILE_IT_RAN, run=run))


def _is_decided(flight: Flight) -> bool:
    """Say whether its end is decided; asked anew after each call that may decide it."""
    return flight.settlement is not None


def is_hand_back(event: Event) -> bool:
    """Say whether a run that ended in a drain asks, by `raise Retry`, to be gone on with elsewhere.

    That is what a task does whose `should_stop()` was true. It is no failure, so it is no attempt. One that names a
    delay has a reason of its own.
    """
    return isinstance(event, retry.Raised) and event.error.type == "Retry" and event.retry and event.after_s is None
