"""From fetched entries to jobs in the pool: reading, admission, and what only the time and the tasks can tell.

Called by the fetcher, the takeover loop and the reconnect with entries. What can't run is decided at once, and handed
to the dispatcher, which concludes it. What is awaited here is one admission script a batch, and only for messages that
need it.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from workd import retry, wire
from workd.broker.ops import Admit, Admitted
from workd.errors import FencedError
from workd.flights import Flight, about
from workd.intake import Reader
from workd.log import get_logger
from workd.pool.frames import MAX_JOINED_BYTES, encode_job
from workd.pool.slot import Job
from workd.verdicts import Times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from workd.broker.entries import Entry
    from workd.broker.ops import Settlement
    from workd.broker.session import Session
    from workd.flights import Book
    from workd.gate import Gate
    from workd.intake import Limits
    from workd.pool.core import ProcessPool
    from workd.verdicts import Clerk

SLICE = 128  # entries decoded in one turn of the loop, or as many as make up SLICE_BYTES: well under 2 ms
SLICE_BYTES = 64 * 1024
UNREAD_SHARE = 16  # how much less work is a message whose arguments are not parsed: it is only handed over
SIGNED_SHARE = 4  # … or looked at for its signature
FETCH_BYTES = 16 * 1024 * 1024
WRONG_KEY_PAUSE_S = 5.0
SIZE_WEIGHT = 0.02  # of the newest message in the recent size

log = get_logger("workd.arrivals")


class Endings(Protocol):
    """Who records what becomes of a job: the dispatcher."""

    def conclude(self, flight: Flight, decision: retry.Decision, times: Times) -> None:
        """Have a decision said in the log and settled."""

    def settle(self, flight: Flight, settlement: Settlement) -> None:
        """Have the end of a job recorded."""


class Owner(Protocol):
    """Who passes on what the gate lets through: the dispatcher."""

    room_changed: asyncio.Event

    @property
    def taking(self) -> Mapping[str, asyncio.Lock]:
        """Who holds the one of a queue brings entries that others might find, too."""

    async def take(self, session: Session, entries: Sequence[Entry]) -> None:
        """Take jobs that waited, like fetched ones."""

    def submit(self, flights: list[Flight]) -> None:
        """Hand jobs to the pool."""

    def on_returned(self, jobs: list[Job]) -> None:
        """Take back jobs that have found no worker."""


class Arrivals:
    """The way in of every job."""

    def __init__(self, books: Mapping[str, Book], limits: Limits, clerk: Clerk, endings: Endings, gate: Gate) -> None:
        """`books` are the dispatcher's; `attach` brings the pool and the tasks."""
        self._gate = gate
        self._books = books
        self._queue_numbers = {queue: number for number, queue in enumerate(books)}
        self._limits = limits
        self._clerk = clerk
        self._endings = endings
        self._pool: ProcessPool
        self._reader: Reader
        self._unread_share = UNREAD_SHARE if limits.signing is None else SIGNED_SHARE
        self._recent_bytes = 1024.0
        self._has_warned = False

    def limit(self, limits: Limits) -> None:
        """Read under other limits from the next `attach` on."""
        self._limits = limits

    def attach(self, pool: ProcessPool, catalogue: Mapping[str, Mapping[str, Any]], wall: Callable[[], float]) -> None:
        """Take the pool and what its workers can run."""
        self._pool = pool
        self._reader = Reader(self._limits, catalogue, wall)

    def within_bytes(self, count: int) -> int:
        """Return how many of `count` entries to fetch, so that they stay within bounds if all are as recent ones."""
        return min(count, max(1, int(FETCH_BYTES / self._recent_bytes)))

    async def take(self, session: Session, entries: Sequence[Entry]) -> None:
        """Take fetched entries: run what can run, and decide at once about what can't."""
        if not self._has_warned and self._limits.signing is None and entries and entries[0].signature is not None:
            self._warn_of_signatures(entries[0])
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
            book = self._books[entry.queue]
            if book.knows(entry.entry_id):
                continue  # the same job: somebody deleted the group, and it was read once more
            size = len(entry.message or b"")
            self._note_size(size)
            flight, trouble = self._read(entry)
            book.open(flight)
            if trouble is not None:
                self._endings.conclude(flight, self._clerk.decide(flight, trouble), Times())
            elif flight.has_a_name:
                to_admit.setdefault(entry.queue, []).append(flight)
            else:
                ready.append(flight)
            work += size // self._unread_share if flight.arguments[1] else size
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

    def _warn_of_signatures(self, entry: Entry) -> None:
        """Say it once, of the first of a fetch: whoever signs means to be checked, and keys may have gone astray."""
        self._has_warned = True
        text = "messages are signed, and this daemon has no signing_keys: it checks nothing, and runs unsigned ones too"
        log.warning(text, queue=entry.queue, job_id=entry.id or entry.entry_id)

    def _note_size(self, size: int) -> None:
        """Keep the recent size of messages: growing at once, shrinking slowly, so that a fetch stays within bounds."""
        self._recent_bytes = max(size, self._recent_bytes + SIZE_WEIGHT * (size - self._recent_bytes))

    def _start(self, flights: Iterable[Flight]) -> None:
        able = [flight for flight in flights if not flight.dropped and self._may_start(flight)]
        self.submit(able if self._gate.is_open else self._gate.pass_on(able))

    def _leave_to_history(self, groups: Iterable[list[Flight]]) -> None:
        """Forget jobs that the session broke under before they could be admitted: the next one finds them pending."""
        for flight in chain.from_iterable(groups):
            if flight.settlement is None and not flight.pool_key:
                self._books[flight.entry.queue].close(flight.entry.entry_id)

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
        # A group or a chain is cancelled as a whole, under its own id: asked once for all its jobs here.
        kin_ids = list(dict.fromkeys(chain.from_iterable(flight.kin_ids for flight in flights)))
        asked = [*items, *(Admit("", kin_id, has_producer_id=False) for kin_id in kin_ids)]
        answers = await session.admit(queue, asked)
        stopped = {
            kin_id
            for kin_id, answer in zip(kin_ids, answers[len(items) :], strict=True)
            if answer is Admitted.CANCELLED
        }
        admitted = []
        for flight, its_own in zip(flights, answers[: len(items)], strict=True):
            answer = its_own
            if answer is Admitted.RUN and not stopped.isdisjoint(flight.kin_ids):
                answer = Admitted.CANCELLED
            match answer:
                case Admitted.RUN:
                    admitted.append(flight)
                case Admitted.DUPLICATE:
                    log.info("a duplicate is cancelled", **about(flight))
                    self._endings.settle(flight, self._clerk.duplicate(flight))
                case Admitted.CANCELLED:
                    self._endings.settle(flight, self._clerk.cancelled(flight, "cancelled before it started"))
                case Admitted.WRONG_KEY:
                    log.error("a key that names a job has the wrong type; the job waits", **about(flight))
                    due_ms = int((self._clerk.wall() + WRONG_KEY_PAUSE_S) * 1000)
                    self._endings.settle(flight, self._clerk.readd(flight, flight.entry.counters, due_ms))
                case Admitted.FENCED:
                    raise FencedError(queue)
        return admitted

    def _may_start(self, flight: Flight) -> bool:
        """Look at what only time and tasks can tell; False if that settled the job."""
        envelope, now_s = flight.envelope, self._clerk.wall()
        if envelope is None:
            return False
        if envelope.expires_at is not None and envelope.expires_at <= now_s:
            log.info("a job expired before it started", **about(flight))
            self._endings.settle(flight, self._clerk.expired(flight))
            return False
        if flight.extras is not None and (lateness := flight.extras.lateness(flight, now_s)) is not None:
            log.info("a job expired before it started", reason=lateness.type, **about(flight))
            self._endings.settle(flight, self._clerk.expired(flight, lateness))
            return False
        if envelope.run_at is not None and envelope.run_at > now_s:
            due_ms = int(envelope.run_at * 1000)
            self._endings.settle(flight, self._clerk.readd(flight, flight.entry.counters, due_ms))
            return False
        if not self._reader.knows(envelope.task):
            self._endings.conclude(flight, self._clerk.decide(flight, self._reader.unknown(envelope.task)), Times())
            return False
        if flight.entry.counters.takeovers:  # nearly never, and the question costs as much as all those above
            decision = self._clerk.decide(flight, retry.TakenOver())
            if not isinstance(decision, retry.GoOn):
                self._endings.conclude(flight, decision, Times())
                return False
        return True

    def submit(self, flights: list[Flight]) -> None:
        """Hand jobs to the pool."""
        jobs, coroutines = [], self._reader.coroutines
        for flight in flights:
            envelope, entry = flight.envelope, flight.entry
            if envelope is None or entry.message is None:
                continue
            counters = entry.counters
            flight.pool_key = self._pool.next_key()
            name, task = flight.job_id.encode(), envelope.task.encode()
            message, rest = (entry.message, b"") if len(entry.message) <= MAX_JOINED_BYTES else (b"", entry.message)
            # Nearly all come for the first time, and what is asked of their counters is known.
            attempt, delivery, alone = (
                (counters.attempts + 1, flight.delivery, counters.is_suspect) if any(counters) else (1, 1, False)
            )
            start, end = flight.arguments
            number, timeout_s = self._queue_numbers[entry.queue], flight.timeout_s
            body = encode_job(name, task, attempt, delivery, message, start, end, number, timeout_s, entry.enqueued_ms)
            patient = envelope.reply_to is None
            job = Job(flight.pool_key, body, envelope.task, timeout_s, flight, alone, patient=patient, rest=rest)
            if flight.extras is not None:
                flight.extras.impose(job)
            if coroutines and (concurrency := coroutines.get(envelope.task)):
                job.concurrency = 1 if alone else concurrency
            jobs.append(job)
        if jobs:
            self._pool.submit(jobs)
