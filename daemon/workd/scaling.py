"""How many workers there are: what the settings say, what the load asks for, or what somebody wants.

A loop of the supervisor's. With `workers = auto` it looks twice a second, and at once when the first job comes to a
daemon without workers, and has `capacity` decide. Who asks for a number gets it: from then on the load decides nothing,
until the settings are read again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from workd import capacity, pressure
from workd.capacity import QUIET_S, Look
from workd.log import get_logger
from workd.settings import usable_cores
from workd.sizes import AUTO, MAX_WORKERS, bounds
from workd.states import State

if TYPE_CHECKING:
    from workd.dispatcher import Dispatcher
    from workd.pool.core import ProcessPool
    from workd.settings import Settings
    from workd.vitals import Vitals

EVERY_S: Final = 0.5

log = get_logger("workd.scaling")


class Scaler:
    """Who says how many slots the pool has."""

    def __init__(self, pool: ProcessPool, dispatcher: Dispatcher, vitals: Vitals, settings: Settings) -> None:
        """Begin with what the settings say; `run` does the rest."""
        self._pool = pool
        self._dispatcher = dispatcher
        self._vitals = vitals
        self._loop = asyncio.get_running_loop()
        self._bounds = bounds(settings, usable_cores())
        self._auto = asyncio.Event()  # set while the load decides
        self._note_mode(settings)
        self._changed_at = self._loop.time()
        self._busy: deque[tuple[float, int]] = deque()  # when, and how many workers were busy
        self._ended = 0
        self._short_of = ""

    def follow(self, settings: Settings) -> None:
        """Have as many workers as these settings say, or between as many."""
        self._bounds = bounds(settings, usable_cores())
        self._note_mode(settings)
        self._resize(min(self._bounds.most, max(self._bounds.least, self._pool.size)))

    def ask(self, workers: int) -> None:
        """Have so many workers. Raises ValueError out of bounds."""
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"workers should be 1 to {MAX_WORKERS}, not {workers}")
        if self._auto.is_set():
            self._auto.clear()
            log.warning("the load decides no more: somebody asked for a number; a reload gives it back to the load")
        self._resize(workers)

    async def run(self) -> None:
        """Let the load decide, where it may, until cancelled."""
        while True:
            await self._auto.wait()
            self._look()
            await self._vitals.wait_change(EVERY_S)

    def _note_mode(self, settings: Settings) -> None:
        if settings.workers == AUTO:
            self._auto.set()
        else:
            self._auto.clear()

    def _resize(self, workers: int) -> None:
        before = self._pool.size
        if workers == before:
            return
        log.info("scaling", workers=workers, before=before)
        self._changed_at = self._loop.time()
        self._busy.clear()
        self._pool.resize(workers)
        self._dispatcher.on_change()
        self._dispatcher.on_room()  # with no worker there is room for one job, which brings one

    def _look(self) -> None:
        look = self._see()
        if self._vitals.state is not State.RUNNING:
            return
        decision = capacity.decide(look, self._bounds, pressure.read() if look.waiting else pressure.Pressure())
        if decision.short_of != self._short_of:
            self._short_of = decision.short_of
            if decision.short_of:
                log.warning("jobs wait, but there are no more workers", short_of=decision.short_of)
        self._resize(decision.workers)

    def _see(self) -> Look:
        now, pool = self._loop.time(), self._pool
        slots = [slot for slot in pool.slots if not slot.closing]
        busy = sum(bool(slot.tenant and slot.tenant.jobs) for slot in slots)
        waiting, oldest_s = self._waiting(now)
        return Look(
            workers=len(slots),
            ready=sum(slot.ready for slot in slots),
            busy=busy,
            waiting=waiting,
            oldest_s=oldest_s,
            peak=self._peak(now, busy),
            settled_s=now - self._changed_at,
            cores=usable_cores(),
            worker_bytes=max((worker.rss_bytes for worker in pool.stats().workers), default=0) if waiting else 0,
        )

    def _peak(self, now: float, busy: int) -> int:
        """Return how many workers were busy at once, lately; one, if jobs ended and nobody was seen at work."""
        ended = self._dispatcher.settler.ended
        busy = max(busy, int(ended != self._ended))
        self._ended = ended
        self._busy.append((now, busy))
        while self._busy[0][0] < now - QUIET_S:
            self._busy.popleft()
        return max(count for _, count in self._busy)

    def _waiting(self, now: float) -> tuple[int, float]:
        """Return how many jobs wait, here and in the queues, and how long the first one has."""
        dispatcher, waiting = self._dispatcher, self._pool.waiting
        count, oldest_s = len(waiting), now - waiting[0].queued_at if waiting else 0.0
        for queue in dispatcher.gate.open_queues(tuple(dispatcher.backlogs)):
            backlog = dispatcher.backlogs[queue]
            if backlog.oldest_ms is None or dispatcher.renewed_at.get(queue, 0.0) <= self._changed_at:
                continue  # what was seen before the last change may have been met by it
            count += backlog.jobs or 1
            oldest_s = max(oldest_s, dispatcher.clock.now_s() - backlog.oldest_ms / 1000)
        return count, oldest_s
