"""From fetched entries to jobs in the pool, and from what happened to them to settlements.

The owner of the pool and of every job's state. Called by the fetcher, the takeover loop and the reconnect with
entries; calls the settler with decisions. Knows neither processes nor Redis commands, and never waits for either: what
it awaits is one admission script a batch, and only for messages that need it.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any

from workd import retry, wire
from workd.broker.ops import Admit, Admitted
from workd.errors import FencedError
from workd.flights import Book, Flight
from workd.intake import Limits, Reader
from workd.log import get_logger
from workd.pool.deaths import Crashed, Killed
from workd.pool.frames import INVALID, MAX_JOINED_BYTES, UNKNOWN_TASK, encode_job
from workd.pool.slot import Job
from workd.schedule import Alarm
from workd.settler import Settler
from workd.verdicts import Clerk, Times, event_of_frame, event_of_loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from workd.broker.entries import Entry
    from workd.broker.ops import Settlement
    from workd.broker.session import Session
    from workd.clock import Clock
    from workd.errors import PoolError
    from workd.pool.core import ProcessPool
    from workd.pool.deaths import Lost
    from workd.pool.parsing import Frame

SLICE = 128  # entries decoded in one turn of the loop, or as many as make up SLICE_BYTES: well under 2 ms
SLICE_BYTES = 64 * 1024
UNREAD_SHARE = 16  # how much less work is a message whose arguments are not parsed: it is only handed over
MAX_UNSETTLED_JOBS = 5_000  # while Redis does not take what has ended, nothing more is begun
MAX_UNSETTLED_BYTES = 64 * 1024 * 1024
FETCH_BYTES = 16 * 1024 * 1024
WRONG_KEY_PAUSE_S = 5.0
SIZE_WEIGHT = 0.02  # of the newest message in the recent size
SHOWN_CHARS = 500  # of an error in a log line; the dead letter has all of it

log = get_logger("workd.dispatcher")


class Dispatcher:
    """Every job that this daemon holds, and what becomes of it."""

    def __init__(self, queues: Sequence[str], limits: Limits, clerk: Clerk, clock: Clock) -> None:
        """Prepare for `queues`; `attach` brings the pool and the tasks."""
        self.books = {queue: Book(queue) for queue in queues}
        self.room_changed = asyncio.Event()
        self.taking = asyncio.Lock()  # for what brings entries that may be seen twice: the history, and takeovers
        self.clock = clock
        self.alarms = {queue: Alarm(clock) for queue in queues}
        self.settler = Settler(self.books, self.alarms, self.room_changed.set)
        self._limits = limits
        self._clerk = clerk
        self._pool: ProcessPool
        self._reader: Reader
        self._recent_bytes = 1024.0
        self.state_changed = asyncio.Event()
        self.crashes = 0
        self.deaths = 0  # dead letters written by this daemon

    def attach(self, pool: ProcessPool, catalogue: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the pool and what its workers can run."""
        self._pool = pool
        self._reader = Reader(self._limits, catalogue, self.clock.now_s)

    def room(self) -> int:
        """Return how many entries to fetch now; 0 while the pool is full or Redis does not take what has ended."""
        settler = self.settler
        if settler.unsettled > MAX_UNSETTLED_JOBS or settler.unsettled_bytes > MAX_UNSETTLED_BYTES:
            return 0
        free, whole, idle = self._pool.capacity()
        if free < whole // 2 and not idle:
            return 0  # one call for many entries instead of one for each job that has ended
        return min(free, max(1, int(FETCH_BYTES / self._recent_bytes)))

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def take(self, session: Session, entries: Sequence[Entry]) -> None:
        """Take fetched entries: run what can run, and decide at once about what can't."""
        rest = iter(entries)
        while True:
            if not await self._take_slice(session, rest):
                return
            await asyncio.sleep(0)  # other loops have their turn

    async def _take_slice(self, session: Session, rest: Iterator[Entry]) -> bool:
        """Take what one turn of the loop has time for; False if that was all."""
        ready: list[Flight] = []
        to_admit: dict[str, list[Flight]] = {}
        work, is_full = 0, False
        for number, entry in enumerate(rest, 1):
            book = self.books[entry.queue]
            if book.knows(entry.entry_id):
                continue  # the same job: somebody deleted the group, and it was read once more
            size = len(entry.message or b"")
            self._note_size(size)
            flight, trouble = self._read(entry)
            book.open(flight)
            if trouble is not None:
                self._conclude(flight, self._clerk.decide(flight, trouble), Times())
            elif flight.has_a_name:
                to_admit.setdefault(entry.queue, []).append(flight)
            else:
                ready.append(flight)
            work += size // UNREAD_SHARE if flight.arguments[1] else size
            if is_full := work > SLICE_BYTES or number >= SLICE:
                break
        self._start(ready)
        for queue in list(to_admit):
            try:
                self._start(await self._admit(session, queue, to_admit[queue]))
            except BaseException:
                self._leave_to_history(to_admit.values())
                raise
            del to_admit[queue]
        return is_full

    def _read(self, entry: Entry) -> tuple[Flight, retry.Event | None]:
        try:
            return self._reader.read(entry)
        except Exception as error:
            # Whatever this is, it is one producer's message: it must not end this daemon, and then the next one.
            log.exception("a message could not be read", queue=entry.queue, job_id=entry.id or entry.entry_id)
            info = wire.ErrorInfo(type="InternalError", message=f"{type(error).__name__}: {error}")
            refused = retry.Refused(wire.DeadReason.INVALID, info, ran=False)
            return Flight(entry, entry.id or entry.entry_id), refused

    def _note_size(self, size: int) -> None:
        """Keep the recent size of messages: growing at once, shrinking slowly, so that a fetch stays within bounds."""
        self._recent_bytes = max(size, self._recent_bytes + SIZE_WEIGHT * (size - self._recent_bytes))

    def _start(self, flights: Iterable[Flight]) -> None:
        self._submit([flight for flight in flights if not flight.dropped and self._may_start(flight)])

    def _leave_to_history(self, groups: Iterable[list[Flight]]) -> None:
        """Forget jobs that the session broke under before they could be admitted: the next one finds them pending."""
        for flight in chain.from_iterable(groups):
            if flight.settlement is None and not flight.pool_key:
                self.books[flight.entry.queue].close(flight.entry.entry_id)

    async def _admit(self, session: Session, queue: str, flights: list[Flight]) -> list[Flight]:
        """Ask Redis about jobs that have a name: which may run, which are duplicates, which were cancelled."""
        items = [
            Admit(
                entry_id=flight.entry.entry_id,
                job_id=flight.job_id,
                has_producer_id=flight.envelope is not None and flight.envelope.id is not None,
                unique=flight.envelope.unique if flight.envelope is not None else None,
            )
            for flight in flights
        ]
        answers = await session.admit(queue, items)
        admitted = []
        for flight, answer in zip(flights, answers, strict=True):
            match answer:
                case Admitted.RUN:
                    admitted.append(flight)
                case Admitted.DUPLICATE:
                    log.info("a duplicate is cancelled", **_about(flight))
                    self._settle(flight, self._clerk.duplicate(flight))
                case Admitted.CANCELLED:
                    self._settle(flight, self._clerk.cancelled(flight, "cancelled before it started"))
                case Admitted.WRONG_KEY:
                    log.error("a key that names a job has the wrong type; the job waits", **_about(flight))
                    due_ms = int((self._clerk.wall() + WRONG_KEY_PAUSE_S) * 1000)
                    self._settle(flight, self._clerk.readd(flight, flight.entry.counters, due_ms))
                case Admitted.FENCED:
                    raise FencedError(queue)
        return admitted

    def _may_start(self, flight: Flight) -> bool:
        """Look at what only time and tasks can tell; False if that settled the job."""
        envelope, now_s = flight.envelope, self._clerk.wall()
        if envelope is None:
            return False
        if envelope.expires_at is not None and envelope.expires_at <= now_s:
            log.info("a job expired before it started", **_about(flight))
            self._settle(flight, self._clerk.expired(flight))
            return False
        if envelope.run_at is not None and envelope.run_at > now_s:
            due_ms = int(envelope.run_at * 1000)
            self._settle(flight, self._clerk.readd(flight, flight.entry.counters, due_ms))
            return False
        if not self._reader.knows(envelope.task):
            self._conclude(flight, self._clerk.decide(flight, self._reader.unknown(envelope.task)), Times())
            return False
        if flight.entry.counters.takeovers:  # nearly never, and the question costs as much as all those above
            decision = self._clerk.decide(flight, retry.TakenOver())
            if not isinstance(decision, retry.GoOn):
                self._conclude(flight, decision, Times())
                return False
        return True

    def _submit(self, flights: list[Flight]) -> None:
        jobs = []
        for flight in flights:
            envelope, entry = flight.envelope, flight.entry
            if envelope is None or entry.message is None:
                continue
            counters = entry.counters
            flight.pool_key = self._pool.next_key()
            name, task = flight.job_id.encode(), envelope.task.encode()
            message, rest = (entry.message, b"") if len(entry.message) <= MAX_JOINED_BYTES else (b"", entry.message)
            body = encode_job(name, task, counters.attempts + 1, flight.delivery, message, *flight.arguments)
            alone = bool(counters.crashes or counters.takeovers)
            patient = envelope.reply_to is None
            jobs.append(
                Job(flight.pool_key, body, envelope.task, flight.timeout_s, flight, alone, patient=patient, rest=rest)
            )
        if jobs:
            self._pool.submit(jobs)

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_result(self, job: Job, frame: Frame) -> None:
        """Take the outcome of a run that ended by itself. Raises `FrameError` if the frame makes no sense."""
        flight: Flight = job.ref
        if flight.dropped:
            return
        event = event_of_frame(frame, self._clerk.wall())
        never_ran = frame.kind in (INVALID, UNKNOWN_TASK)
        times = Times() if never_ran else Times(frame.started_at, frame.ended_at)
        self._decide(flight, event, times, job.worker_pid)

    def on_lost(self, job: Job, how: Lost) -> None:
        """Take back a job that had started and whose worker is dead."""
        flight: Flight = job.ref
        if flight.dropped:
            return
        now_s = self._clerk.wall()
        times = Times(now_s - (how.died.ran_s or 0.0), now_s)
        if isinstance(how, Killed) and flight.cancelled:
            self._settle(flight, self._clerk.cancelled(flight, "cancelled while it was running", run=times))
            return
        if isinstance(how, Crashed):
            self.crashes += 1
            log.warning("a worker died under a job", how=how.died.describe(), **_about(flight, job.worker_pid))
        self._decide(flight, event_of_loss(how), times, job.worker_pid)

    def _decide(self, flight: Flight, event: retry.Event, times: Times, worker_pid: int) -> None:
        """Conclude a run. Whatever goes wrong in that is this job's end, and no other's."""
        try:
            self._conclude(flight, self._clerk.decide(flight, event), times, worker_pid)
        except Exception as error:
            log.exception("the end of a job could not be handled", **_about(flight, worker_pid))
            self._settle(flight, self._clerk.broken(flight, error))

    def on_returned(self, jobs: list[Job]) -> None:
        """Hand jobs that were never started back to Redis, where another daemon may have room."""
        for job in jobs:
            flight: Flight = job.ref
            if not flight.dropped:
                self._conclude(flight, self._clerk.decide(flight, retry.CutShort(started=False)), Times())

    def on_unstartable(self, jobs: list[Job], cause: PoolError) -> None:
        """Give back jobs that this daemon can't hand to a worker: another one may have a descriptor left for it."""
        log.error("jobs can't be handed to a worker", jobs=[job.ref.job_id for job in jobs], cause=str(cause))
        self.on_returned(jobs)

    def on_room(self) -> None:
        """Wake the fetcher."""
        self.room_changed.set()

    def on_change(self) -> None:
        """Wake who shows the pool's state."""
        self.state_changed.set()

    def cancel(self, queue: str, job_ids: frozenset[str]) -> None:
        """Stop jobs that somebody cancelled: unstarted ones end at once, running ones are killed."""
        for flight in self.books[queue].find(job_ids):
            flight.cancelled = True
            job = self._pool.cancel(flight.pool_key, "cancelled") if flight.pool_key else None
            if job is not None:
                self._settle(flight, self._clerk.cancelled(flight, "cancelled before it started"))

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
            log.warning("the lease was lost; its jobs are another daemon's now", queue=queue, jobs=lost)

    def _conclude(self, flight: Flight, decision: retry.Decision, times: Times, worker_pid: int = 0) -> None:
        before = flight.entry.counters
        match decision:
            case retry.Die(_, reason, error):
                self.deaths += 1
                log.warning("dead letter", reason=reason.value, error=_shown(error), **_about(flight, worker_pid))
            case retry.Again(counters, delay_s, error) if error is not None and counters.attempts > before.attempts:
                seconds = round(delay_s, 3)
                about = _about(flight, worker_pid)
                log.info("a run failed and is repeated", delay_s=seconds, error=_shown(error), **about)
            case retry.Again(_, delay_s, error) if error is not None and not before.unknown_since_ms:
                log.warning("a job must wait", error=_shown(error), **_about(flight))
            case _:
                pass
        self._settle(flight, self._clerk.write(flight, decision, times))

    def _settle(self, flight: Flight, settlement: Settlement) -> None:
        flight.pool_key = 0
        self.settler.put(flight, settlement)


def _about(flight: Flight, worker_pid: int = 0) -> dict[str, object]:
    """Return what every log line about a job carries."""
    about: dict[str, object] = {"job_id": flight.job_id, "task": flight.task, "delivery": flight.delivery}
    return about | {"worker_pid": worker_pid} if worker_pid else about


def _shown(error: wire.ErrorInfo) -> str:
    return f"{error.type}: {error.message}"[:SHOWN_CHARS]
