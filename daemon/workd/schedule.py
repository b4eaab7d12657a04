"""What is due, and what came by the inbox: the loops that move both into the stream.

A loop per queue; run by the consumer as part of a session. They sleep until something is due (scripts that write
`scheduled` answer the earliest time, and so does each takeover pass) and never poll.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from workd.broker.session import Session
    from workd.clock import Clock

T = TypeVar("T")

INBOX_WAIT_S = 10.0
TRIM_EVERY_S = 60.0
TRIM_SELDOM = 5  # with several queues, each is trimmed this many times more seldom at the most
CLOCK_PAUSE_S = 0.05
_NEVER_S = 3600.0  # a look now and then costs nothing, and bounds what a lost note can do


log = get_logger("workd.schedule")


@dataclass(frozen=True, slots=True)
class DeadLimits:
    """How many dead letters of a queue are kept."""

    max_bytes: int
    max_age_s: float


class Alarm:
    """When the next scheduled job of one queue is due, as far as anybody has said."""

    def __init__(self, clock: Clock) -> None:
        """Know of nothing."""
        self.clock = clock
        self._due_ms: int | None = None
        self._moved = asyncio.Event()

    def note(self, due_ms: int | None) -> None:
        """Hear of a due time; an earlier one than known wakes the sleeper."""
        if due_ms is not None and (self._due_ms is None or due_ms < self._due_ms):
            self._due_ms = due_ms
            self._moved.set()

    def forget(self) -> None:
        """Know of nothing again. Called before a move, whose answer knows all but what is noted meanwhile."""
        self._due_ms = None

    def is_due(self) -> bool:
        """Say whether the time has come."""
        return self._due_ms is not None and self._due_ms / 1000 <= self.clock.now_s()

    async def wait(self, quiet: asyncio.Event) -> None:
        """Sleep until the time has come, or until `quiet`."""
        while not quiet.is_set():
            if self.is_due():
                return
            left_s = _NEVER_S if self._due_ms is None else self._due_ms / 1000 - self.clock.now_s()
            self._moved.clear()
            await until(quiet, self._moved.wait(), timeout_s=left_s)


async def until(quiet: asyncio.Event, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T | None:
    """Return what `work` returns, or None when `quiet` was set or the time was over before; then it is cancelled."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(quiet.wait())
    try:
        await asyncio.wait({task, stop}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        # Waited for, not suppressed: a cancellation of the caller still goes through.
        for left in (task, stop):
            left.cancel()
        await asyncio.wait({task, stop})


async def move_due(session: Session, alarm: Alarm, queue: str, quiet: asyncio.Event) -> None:
    """Move scheduled jobs into the stream when they are due, until `quiet`."""
    while not quiet.is_set():
        alarm.forget()
        reply = await session.move_due(queue)
        alarm.note(reply.next_due_ms)
        if not reply.moved and alarm.is_due():
            # By our clock it is time, by the server's it is not: its word counts, and asking again at once is no use.
            alarm.clock.set_by(await session.now_ms())
            await until(quiet, asyncio.sleep(CLOCK_PAUSE_S))
        await alarm.wait(quiet)


async def trim_dead(session: Session, limits: DeadLimits, queue: str, quiet: asyncio.Event, queues: int = 1) -> None:
    """Once a minute, trim the dead letters; say how many went, since they are gone for good. Until `quiet`.

    With `queues` of them, so that they cost little while idle, each only every few minutes.
    """
    while not quiet.is_set():
        if trimmed := await session.trim_dead(queue, limits.max_bytes, limits.max_age_s):
            log.warning("dead letters were trimmed by age or size", queue=queue, trimmed=trimmed)
        await until(quiet, asyncio.sleep(TRIM_EVERY_S * min(queues, TRIM_SELDOM)))


async def move_inbox(session: Session, queue: str, quiet: asyncio.Event) -> None:
    """Move what producers pushed onto the inbox list into the stream, until `quiet`."""
    while not quiet.is_set():
        if await until(quiet, session.wait_inbox(queue, INBOX_WAIT_S)):
            await session.move_inbox(queue)
