"""What stands between a job that could start and the pool: limits of its task over the whole fleet, and a paused queue.

Owned by the dispatcher. Arrivals pass what would start through here; nothing is asked for jobs of tasks without limits.
Those that have one are held, and asked for together: one call for a task carries what asks, what has ended and how much
room there is, and brings what waits longest. What gets no permit is off our books: Redis keeps it pending for whoever
waits, and some daemon is given it when it is its turn. One loop, part of the session, does the asking.

Knows no Redis command and no process; which of two jobs goes first is decided by `permit.lua`.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from workd import retry
from workd.broker.permits import PermitAsk, Permitted
from workd.errors import FencedError
from workd.lines import NO_LIMIT, Line, entry_ids, limit_of
from workd.log import get_logger
from workd.pauses import Pauses
from workd.schedule import until
from workd.verdicts import Times

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workd.arrivals import Endings, Owner
    from workd.broker.permits import Limit, PermitReply
    from workd.broker.queues import Paused
    from workd.broker.session import Session
    from workd.flights import Book, Flight
    from workd.pool.core import ProcessPool
    from workd.verdicts import Clerk

MOST_ASKED = 500  # entries in one call
WRONG_KEY_PAUSE_S = 5.0

log = get_logger("workd.gate")


class Gate:
    """Limits of tasks and pauses of queues, as far as this daemon is concerned."""

    def __init__(self, books: Mapping[str, Book], clerk: Clerk, endings: Endings, owner: Owner) -> None:
        """`books` are the dispatcher's; `attach` brings the pool and the tasks."""
        self._books = books
        self._clerk = clerk
        self._endings = endings
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._wakes = {queue: asyncio.Event() for queue in books}  # one for all queues of a loop
        self._served: set[str] = set()  # queues whose loop runs
        self._pool: ProcessPool
        self._known: frozenset[str] = frozenset()
        self._limits: dict[str, Limit] = {}
        self._lines: dict[tuple[str, str], Line] = {}
        self.permits: dict[tuple[str, str], str] = {}  # queue and entry → task: what may run here
        self._given: dict[tuple[str, str], bool] = {}  # queue and entry that comes with a permit → was it cancelled?
        self._pauses = Pauses()
        self.is_open = True

    def attach(self, pool: ProcessPool, catalogue: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the pool and what its workers can run."""
        self._pool = pool
        self._known = frozenset(catalogue)
        limits = {name: limit_of(options) for name, options in catalogue.items()}
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}
        for line in self._lines.values():
            line.limit = self._limits.get(line.task, NO_LIMIT)
        self._note_state()

    # ── what would start ────────────────────────────────────────────────────────────────────────────────────────

    def pass_on(self, flights: Iterable[Flight]) -> list[Flight]:
        """Return those that may start now; hold those that have to be asked for, and send back what may not."""
        through = []
        for flight in flights:
            queue, entry_id = flight.entry.queue, flight.entry.entry_id
            cancelled = self._given.pop((queue, entry_id), None)
            if cancelled:
                self._note_unused(self._line(queue, flight.task), 1)
                self._endings.settle(flight, self._clerk.cancelled(flight, "cancelled before it started"))
            elif self._pool.is_quiet:
                through.append(flight)  # the pool takes nothing more and hands it back
            elif self._pauses.holds_up(queue):
                if cancelled is None or not self.take_back(flight):
                    self._hand_back(flight)
            elif cancelled is not None or flight.task not in self._limits:
                through.append(flight)
            else:
                self._line(queue, flight.task).asking.append(flight)
                self._wakes[queue].set()
        return through

    def take_back(self, flight: Flight) -> bool:
        """Have a job wait again that found no worker; False if it is none of ours and goes back into the stream."""
        if self._pool.is_quiet or flight.task not in self._limits:
            return False
        flight.pool_key = 0
        self.permits.pop((flight.entry.queue, flight.entry.entry_id), None)
        self._line(flight.entry.queue, flight.task).unstarted.append(flight)
        self._wakes[flight.entry.queue].set()
        return True

    def _hand_back(self, flight: Flight) -> None:
        self._endings.conclude(flight, self._clerk.decide(flight, retry.CutShort(started=False)), Times())

    def give_back(self, queues: Sequence[str]) -> None:
        """Send everything back that is held here: the daemon is stopping."""
        for line in self._lines.values():
            if line.queue in queues:
                self._hand_all_back(line.asking)
                self._hand_all_back(line.unstarted)

    def _hand_all_back(self, flights: list[Flight]) -> None:
        for flight in self._still_here(flights):
            self._hand_back(flight)
        flights.clear()

    # ── what others say ─────────────────────────────────────────────────────────────────────────────────────────

    def note_waiting(self, queue: str, tasks: Iterable[str]) -> None:
        """Hear which tasks have jobs that wait for a limit. Those that nobody here can run are left to others."""
        for task in tasks:
            if task in self._known and not self._pauses.holds_up(queue):
                self._line(queue, task).verify = True
                self._wakes[queue].set()

    def note_paused(self, queue: str, pause: Paused | None) -> bool:
        """Hear whether a queue is paused; True if that has changed. What has not started is taken back."""
        before = self._pauses.of.get(queue)
        if pause == before:
            return False
        self._pauses.note(queue, pause)
        self._note_state()
        if pause is not None:
            self._hold_up(queue)
        self._owner.room_changed.set()
        return (pause is None) != (before is None)

    def shut(self) -> None:
        """Start nothing more, of any queue, until `unshut`; what has not started goes back. Safe to call twice."""
        if not self._pauses.shut:
            self._pauses.shut = True
            self._note_state()
            for queue in self._books:
                self._hold_up(queue)

    def unshut(self) -> None:
        """Let jobs through again, but for those of paused queues."""
        self._pauses.shut = False
        self._note_state()
        self._owner.room_changed.set()
        for wake in self._wakes.values():
            wake.set()  # what waits for a limit may go on here

    def _hold_up(self, queue: str) -> None:
        for line in self._lines.values():
            if line.queue == queue:
                self._hand_all_back(line.asking)
        keys = {flight.pool_key for flight in self._books[queue].flights.values() if flight.pool_key}
        self._owner.on_returned(self._pool.recall(keys))

    def note_ended(self) -> None:
        """Hear that jobs are off our books: their permits are free."""
        for (queue, entry_id), task in list(self.permits.items()):
            if not self._books[queue].knows(entry_id):
                del self.permits[queue, entry_id]
                self._line(queue, task).end(entry_id, self._loop.time())
                self._wakes[queue].set()

    def is_awaited(self, flight: Flight) -> bool:
        """Say whether other jobs wait for the permit of this one."""
        task = self.permits.get((flight.entry.queue, flight.entry.entry_id))
        return task is not None and self._line(flight.entry.queue, task).others_wait

    # ── room ────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_queues(self, queues: Sequence[str]) -> list[str]:
        """Return those of these queues of which jobs may start here."""
        return self._pauses.open_among(queues)

    def leave(self, room: int) -> int:
        """Return how much of the pool's room is left for new jobs: those that wait were there before them."""
        if self.note_room():
            return 0
        return max(0, room - sum(len(line.asking) for line in self._lines.values()))

    def note_room(self) -> bool:
        """Hear that the pool may have room; True if a job that waits has a use for it."""
        now = self._loop.time()
        is_hungry = False
        for line in self._lines.values():
            if line.is_hungry(now) and line.queue in self._served and not self._pauses.holds_up(line.queue):
                self._wakes[line.queue].set()
                is_hungry = True
        return is_hungry

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, session: Session, queues: Sequence[str], quiet: asyncio.Event) -> None:
        """Ask for what is held, and for what waits, until `quiet`. Raises `BrokerError` when the session breaks."""
        wake = asyncio.Event()
        wake.set()  # for what the session before this one left
        self._wakes |= dict.fromkeys(queues, wake)
        self._served |= set(queues)
        self.note_ended()
        try:
            while not quiet.is_set():
                await until(quiet, wake.wait(), timeout_s=self._next_s(queues))
                wake.clear()
                await self._ask_for_all(session, queues, quiet)
        finally:
            self._served -= set(queues)

    async def _ask_for_all(self, session: Session, queues: Sequence[str], quiet: asyncio.Event) -> None:
        for line in list(self._lines.values()):
            if (
                line.queue in queues
                and line.is_due(self._loop.time(), self._pool.capacity().free)
                and not quiet.is_set()
            ):
                await self._ask(session, line)
                self._owner.room_changed.set()

    def _next_s(self, queues: Sequence[str]) -> float | None:
        """Return when there is something to ask by itself; None if there is nothing to wait for but a wake."""
        now, has_room = self._loop.time(), self._pool.capacity().free > 0
        lines = [line for line in self._lines.values() if line.queue in queues]
        open_queues = self.open_queues(queues)
        tokens = [line.next_at for line in lines if line.queue in open_queues]
        due = [line.give_back_at for line in lines] + [at for at in tokens if at > now or has_room]
        next_at = min(due, default=math.inf)
        return None if next_at == math.inf else max(0.0, next_at - now)

    def last_asks(self, queue: str) -> list[PermitAsk]:
        """Return which permits are free and nobody was told of: a daemon that leaves asks for nothing else any more."""
        self.note_ended()
        lines = [line for line in self._lines.values() if line.queue == queue and line.ended]
        return [PermitAsk(line.task, line.limit, line.take_ended()) for line in lines]

    async def _ask(self, session: Session, line: Line) -> None:
        """Make one call for a task."""
        # What comes is not in the book yet: nobody else may find it meanwhile. And what asks leaves its list only under
        # the lock: the wait for that may end with the session, or with a pause.
        async with self._owner.taking[line.queue]:
            await self._ask_alone(session, line)

    async def _ask_alone(self, session: Session, line: Line) -> None:
        """Ask; of a call that breaks everything is asked again."""
        asking, unstarted = self._next_of(line.asking), self._next_of(line.unstarted)
        if line.asking or line.unstarted:
            self._wakes[line.queue].set()  # it was more than one call takes
        ended, verify, line.verify = line.take_ended(), line.verify, False
        room = 0 if self._pauses.holds_up(line.queue) else max(0, self._pool.capacity().free - len(asking))
        unused, line.unused = line.unused, 0  # lost with a call that breaks: one too many is worse than one too few
        ids = entry_ids(unstarted), entry_ids(asking)
        ask = PermitAsk(line.task, line.limit, ended, *ids, room, unused, verify=verify)
        try:
            reply = await session.permit(line.queue, ask)
        except BaseException:
            line.asking[:0], line.unstarted[:0] = asking, unstarted
            for entry_id in ended:
                line.end(entry_id, self._loop.time())
            raise
        if reply.fenced:
            line.asking[:0], line.unstarted[:0] = asking, unstarted  # the session ends; those are looked after next
            raise FencedError(line.queue)
        if reply.wrong_key:
            self._put_off(line, reply.wrong_key, [*asking, *unstarted])
            return
        book = self._books[line.queue]
        for flight in unstarted:
            book.close(flight.entry.entry_id)
        self._take_answers(line, reply, asking)
        line.note(reply, self._loop.time(), ask.room)
        await self._take_waiting(session, line, reply)

    def _next_of(self, flights: list[Flight]) -> list[Flight]:
        """Take the next ones for a call out of a list."""
        chosen = self._still_here(flights[:MOST_ASKED])
        del flights[:MOST_ASKED]
        return chosen

    def _still_here(self, flights: Iterable[Flight]) -> list[Flight]:
        """Return those that are still ours and undecided; end those that somebody has cancelled."""
        here = []
        for flight in flights:
            if flight.dropped or flight.settlement is not None:
                continue
            if flight.cancelled:
                self._endings.settle(flight, self._clerk.cancelled(flight, "cancelled before it started"))
            else:
                here.append(flight)
        return here

    def _take_answers(self, line: Line, reply: PermitReply, asking: list[Flight]) -> None:
        running = []
        for flight, answer in zip(asking, reply.answers, strict=True):
            if answer is Permitted.RUN:
                running.append(flight)
            else:
                self._books[line.queue].close(flight.entry.entry_id)
        self._note_permits(line, (flight.entry.entry_id for flight in running))
        self._owner.submit(self._still_here(running))

    async def _take_waiting(self, session: Session, line: Line, reply: PermitReply) -> None:
        """Take the jobs whose turn it is like fetched ones; `pass_on` knows them by `_given`."""
        if not reply.taken:
            return
        entry_ids = [entry.entry_id for entry in reply.taken]
        self._given |= {(line.queue, entry_id): entry_id in reply.cancelled for entry_id in entry_ids}
        try:
            await self._owner.take(session, reply.taken)
            self._note_unused(line, sum((line.queue, entry_id) in self._given for entry_id in entry_ids))
        finally:
            for entry_id in entry_ids:
                self._given.pop((line.queue, entry_id), None)  # those that ended before they came to the gate
            self._note_permits(line, entry_ids)
            self.note_ended()

    def _note_unused(self, line: Line, count: int) -> None:
        """Have tokens of jobs that ended unstarted taken by others: thousands that expired delay nobody."""
        if count and line.limit.token_us is not None:
            line.unused += count
            self._wakes[line.queue].set()

    def _note_permits(self, line: Line, entry_ids: Iterable[str]) -> None:
        if line.limit.most_running is not None:
            self.permits |= {(line.queue, entry_id): line.task for entry_id in entry_ids}

    def _put_off(self, line: Line, key: str, flights: list[Flight]) -> None:
        where = {"queue": line.queue, "task": line.task, "key": key}
        log.error("a key of a task's limits has the wrong type; its jobs wait", **where)
        line.put_off(self._loop.time() + WRONG_KEY_PAUSE_S)
        due_ms = int((self._clerk.wall() + WRONG_KEY_PAUSE_S) * 1000)
        for flight in flights:
            self._endings.settle(flight, self._clerk.readd(flight, flight.entry.counters, due_ms))

    def _line(self, queue: str, task: str) -> Line:
        line = self._lines.get((queue, task))
        if line is None:
            line = self._lines[queue, task] = Line(queue, task, self._limits.get(task, NO_LIMIT))
            self._note_state()
        return line

    def _note_state(self) -> None:
        self.is_open = self._pauses.none and not (self._limits or self._lines)
