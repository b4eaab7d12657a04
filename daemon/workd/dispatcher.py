"""Every job that this daemon holds, and from what happened to it to its settlement.

The owner of the pool and of every job's state. Jobs come in by `arrivals`; what the pool reports of them ends here in
calls of the settler. Knows neither processes nor Redis commands, and never waits for either.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from workd import retry
from workd.arrivals import Arrivals
from workd.cron import Timetable
from workd.flights import Book, about
from workd.gate import Gate
from workd.log import get_logger
from workd.pool.deaths import Crashed, Suspected
from workd.pool.frames import INVALID, UNKNOWN_TASK
from workd.progress import Progress
from workd.queue_watch import QueueWatch
from workd.schedule import Alarm
from workd.settler import Settler
from workd.stopping import Stops, is_hand_back
from workd.tallies import Tallies
from workd.verdicts import Times, event_of_frame, event_of_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workd.broker.entries import Entry
    from workd.broker.ops import Settlement
    from workd.broker.session import Session
    from workd.clock import Clock
    from workd.errors import PoolError
    from workd.flights import Backlog, Flight
    from workd.intake import Limits
    from workd.pool.core import ProcessPool
    from workd.pool.deaths import Lost
    from workd.pool.parsing import Frame
    from workd.pool.slot import Job
    from workd.verdicts import Clerk
    from workd.wire import ErrorInfo

MAX_UNSETTLED_JOBS = 5_000  # while Redis does not take what has ended, nothing more is begun
MAX_UNSETTLED_BYTES = 64 * 1024 * 1024
SHOWN_CHARS = 500  # of an error in a log line; the dead letter has all of it

log = get_logger("workd.dispatcher")


class Dispatcher:
    """Every job that this daemon holds, and what becomes of it."""

    def __init__(
        self, queues: Sequence[str], limits: Limits, clerk: Clerk, clock: Clock, *, apart: bool = False
    ) -> None:
        """Prepare for `queues`; `attach` brings the pool and the tasks. `apart`: each queue is served by itself."""
        self.books = {queue: Book(queue) for queue in queues}
        self.backlogs: dict[str, Backlog] = {}  # by queue, as the takeover pass saw it
        self.room_changed = asyncio.Event()
        # For what brings entries that may be seen twice: the history, and takeovers.
        self.taking = {queue: asyncio.Lock() for queue in queues}
        self.clock = clock
        self.alarms = {queue: Alarm(clock) for queue in queues}
        self.timetable = Timetable(clock, limits.signing)
        self.renewed_at: dict[str, float] = {}  # loop time at which a takeover pass renewed the lease on a queue
        self.settler = Settler(self.books, self.alarms, self._on_settled, apart=apart)
        self.tallies = Tallies(queues, clock)
        self.queue_watch = QueueWatch()
        self.gate = Gate(self.books, clerk, self, self)
        self._arrivals = Arrivals(self.books, limits, clerk, self, self.gate)
        self._clerk = clerk
        self._stops = Stops(clerk, self.settle, limits.cancel_grace_s)
        self._pool: ProcessPool
        self.draining = False
        self.progress = Progress(clerk.daemon_id)
        self.state_changed = asyncio.Event()
        self.crashes = 0
        self.deaths = 0  # dead letters written by this daemon

    def attach(self, pool: ProcessPool, catalogue: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the pool and what its workers can run."""
        self._pool = pool
        self.tallies.know(catalogue)
        self.progress.attach(pool)
        self._arrivals.attach(pool, catalogue, self.clock.now_s)
        self.gate.attach(pool, catalogue)

    def adopt(self, limits: Limits, catalogue: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with other limits and tasks. Jobs that are here keep those under which they came."""
        self._arrivals.limit(limits)
        self._clerk.sign_with(limits.signing)
        self.timetable.sign_with(limits.signing)
        self._stops.grace_s = limits.cancel_grace_s
        self.attach(self._pool, catalogue)

    def oldest_wait_s(self) -> float | None:
        """Return how long the oldest job of an open queue has waited that nobody has fetched; None: there is none."""
        open_queues = self.gate.open_queues(tuple(self.backlogs))
        waits = [self.backlogs[queue].oldest_ms for queue in open_queues]
        oldest_ms = min((ms for ms in waits if ms is not None), default=None)
        return None if oldest_ms is None else max(0.0, self.clock.now_s() - oldest_ms / 1000)

    @property
    def is_choked(self) -> bool:
        """Whether so much has ended and is not recorded that nothing more is begun."""
        settler = self.settler
        return settler.unsettled > MAX_UNSETTLED_JOBS or settler.unsettled_bytes > MAX_UNSETTLED_BYTES

    def room(self) -> int:
        """Return how many entries to fetch now; 0 while the pool is full or Redis does not take what has ended."""
        if self.is_choked:
            return 0
        free, whole, idle = self._pool.capacity()
        if free < whole // 2 and not idle:
            return 0  # one call for many entries instead of one for each job that has ended
        if not self.gate.is_open and not (free := self.gate.leave(free)):
            return 0
        return self._arrivals.within_bytes(free)

    async def wait_room(self) -> None:
        """Wait until there is room for further entries."""
        while not self.room():
            self.room_changed.clear()
            await self.room_changed.wait()

    async def take(self, session: Session, entries: Sequence[Entry]) -> None:
        """Take fetched entries: run what can run, and decide at once about what can't."""
        self.tallies.fetched(entries)
        await self._arrivals.take(session, entries)

    def submit(self, flights: list[Flight]) -> None:
        """Hand jobs to the pool."""
        self._arrivals.submit(flights)

    # ── what the pool reports ───────────────────────────────────────────────────────────────────────────────────

    def on_result(self, job: Job, frame: Frame) -> None:
        """Take the outcome of a run that ended by itself. Raises `FrameError` if the frame makes no sense."""
        flight: Flight = job.ref
        if flight.dropped:
            return
        event = event_of_frame(frame, self._clerk.wall())
        never_ran = frame.kind in (INVALID, UNKNOWN_TASK)
        times = Times() if never_ran else Times(frame.started_at, frame.ended_at)
        flight.run = None if never_ran else times
        if flight.cancelled:
            self._stops.ended(flight, times)
            return
        if self.draining and is_hand_back(event):
            event = retry.CutShort(started=True)
        self._decide(flight, event, times, job.worker_pid)

    def on_lost(self, job: Job, how: Lost) -> None:
        """Take back a job that had started and whose worker is dead."""
        flight: Flight = job.ref
        if flight.dropped:
            return
        now_s = self._clerk.wall()
        times = flight.run = Times(now_s - (how.died.ran_s or 0.0), now_s)
        self.tallies.lost(job.task, how)
        if isinstance(how, Crashed):
            self.crashes += 1
            log.warning("a worker died under a job", how=how.died.describe(), **about(flight, job.worker_pid))
        elif isinstance(how, Suspected):
            died, facts = how.died.describe(), about(flight, job.worker_pid)
            log.warning(
                "a worker died under several jobs; this one runs alone next", others=how.others, how=died, **facts
            )
        if flight.cancelled:
            self._stops.lost(flight, times)
            return
        self._decide(flight, event_of_loss(how), times, job.worker_pid)

    def _decide(self, flight: Flight, event: retry.Event, times: Times, worker_pid: int) -> None:
        """Conclude a run. Whatever goes wrong in that is this job's end, and no other's."""
        try:
            self.conclude(flight, self._clerk.decide(flight, event), times, worker_pid)
        except Exception as error:
            log.exception("the end of a job could not be handled", **about(flight, worker_pid))
            self.settle(flight, self._clerk.broken(flight, error))

    def on_returned(self, jobs: list[Job]) -> None:
        """Hand jobs that were never started back to Redis, where another daemon may have room."""
        for job in jobs:
            flight: Flight = job.ref
            if not flight.dropped and not self.gate.take_back(flight):
                self.conclude(flight, self._clerk.decide(flight, retry.CutShort(started=False)), Times())

    def on_unstartable(self, jobs: list[Job], cause: PoolError) -> None:
        """Give back jobs that this daemon can't hand to a worker: another one may have a descriptor left for it."""
        log.error("jobs can't be handed to a worker", jobs=[job.ref.job_id for job in jobs], cause=str(cause))
        self.on_returned(jobs)

    def on_room(self) -> None:
        """Wake the fetcher."""
        self.room_changed.set()
        if not self.gate.is_open:
            self.gate.note_room()

    def _on_settled(self, flights: list[Flight]) -> None:
        self.tallies.settled(flights)
        self.room_changed.set()
        if self.gate.permits:
            self.gate.note_ended()

    def on_change(self) -> None:
        """Wake who shows the pool's state."""
        self.state_changed.set()

    def cancel(self, queue: str, job_ids: frozenset[str]) -> bool:
        """Stop jobs that somebody cancelled: unstarted ones end at once, running ones are asked, and then killed.

        False if there were none, or one that may have been admitted before somebody wanted that: it is to be asked
        again what is cancelled.
        """
        found = list(self.books[queue].find(job_ids))
        known = bool(found) and all(flight.pool_key for flight in found)
        for flight in found:
            self._stops.ask(self._pool, flight)
        return known

    def let_go(self, queue: str, entry_ids: Sequence[str], *, lease_kept: bool) -> None:
        """Drop jobs that are not pending for us any more, and kill what runs of them.

        With a lease that was kept, those in a settle call are settled, and only the answer to that was lost.
        """
        if not entry_ids:
            return
        flights = self.books[queue].drop(entry_ids)
        unsent = self.settler.drop(queue, flights)
        stopped = [flight for flight in flights if flight.pool_key]
        for flight in stopped:
            self._pool.cancel(flight.pool_key, "its lease was lost")
        if lost := len(stopped) + unsent if lease_kept else len(flights):
            self.tallies.by_queue[queue].lost += lost
            log.warning("the lease was lost; its jobs are another daemon's now", queue=queue, jobs=lost)

    def conclude(self, flight: Flight, decision: retry.Decision, times: Times, worker_pid: int = 0) -> None:
        """Have a decision said in the log, where people should hear of it, and settled."""
        before = flight.entry.counters
        match decision:
            case retry.Die(_, reason, error):
                self.deaths += 1
                log.warning("dead letter", reason=reason.value, error=_shown(error), **about(flight, worker_pid))
            case retry.Again(counters, delay_s, error) if error is not None and counters.attempts > before.attempts:
                seconds = round(delay_s, 3)
                facts = about(flight, worker_pid)
                log.info("a run failed and is repeated", delay_s=seconds, error=_shown(error), **facts)
            case retry.Again(_, delay_s, error) if error is not None and not before.unknown_since_ms:
                log.warning("a job must wait", error=_shown(error), **about(flight))
            case _:
                pass
        self.settle(flight, self._clerk.write(flight, decision, times))

    def settle(self, flight: Flight, settlement: Settlement) -> None:
        """Have the end of a job, or its way back into the queue, recorded."""
        flight.pool_key = 0
        self.settler.put(flight, settlement)
        if self.gate.permits and self.gate.is_awaited(flight):
            self.settler.hurry(flight.entry.queue)


def _shown(error: ErrorInfo) -> str:
    return f"{error.type}: {error.message}"[:SHOWN_CHARS]
