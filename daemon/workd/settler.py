"""Group commit: one settle call at a time, and what ends meanwhile goes with the next.

A call follows another only after a short pause, so that it carries more: alone, the call of a 2 ms job would take a
tenth of its worker's time away. The first after a while goes at once, and so does one that somebody waits for.

Owns every settlement from its decision until Redis has confirmed it. A batch whose answer was lost is sent again, as
it was: the script skips what is settled already. Nothing here waits for a worker, and nothing is dropped but what a
lost lease has made another daemon's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from workd import faultpoints, kin
from workd.broker.ops import Bury, Finish, Readd
from workd.errors import FencedError
from workd.flights import about
from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workd.broker.kinship import Kin
    from workd.broker.ops import Settlement
    from workd.broker.session import Session
    from workd.flights import Book, Flight
    from workd.pulse import Pulse
    from workd.schedule import Alarm

MAX_BATCH_JOBS = 500
MAX_BATCH_BYTES = 1024 * 1024
FULL_BATCH_JOBS = 100  # from there on a job's share of the call hardly gets smaller
PAUSE_S = 0.05
STUCK_RETRY_S = 1.0
MAX_HOPS = 10  # from queue to queue after a chain: it goes on meanwhile
SETTLE_BOUND_S = 15.0  # the session gives a call up earlier

log = get_logger("workd.settler")


@dataclass(slots=True)
class Lane:
    """Queues that are settled over one connection, in turn."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)  # what has to be settled does not wait for more
    pause_until: float = 0.0  # loop time
    boxes: dict[str, Outbox] = field(default_factory=dict)


@dataclass(slots=True)
class Outbox:
    """What waits to be settled in one queue."""

    book: Book
    lane: Lane
    waiting: deque[Flight] = field(default_factory=deque)
    sending: list[Flight] = field(default_factory=list)  # in a call whose answer has not been seen
    held: dict[str, Flight] = field(default_factory=dict)  # by entry id: what Redis refused to take, for now
    has_kin: bool = False  # one of its jobs was in a group or a chain: from then on each batch is looked through

    def unsend(self) -> None:
        """Have what was sent wait again, before all others."""
        self.waiting.extendleft(reversed(self.sending))
        self.sending.clear()


class Settler:
    """The outboxes of all queues and the loop, one for each lane, that empties them."""

    def __init__(
        self,
        books: dict[str, Book],
        alarms: dict[str, Alarm],
        on_room: Callable[[list[Flight]], None],
        *,
        apart: bool = False,
    ) -> None:
        """`on_room` hears of every batch that is off our hands, and what was in it.

        `apart`: each queue has a connection of its own.
        """
        self._alarms = alarms
        self._outboxes: dict[str, Outbox] = {}
        lane = Lane()
        for queue, book in books.items():
            lane = Lane() if apart else lane
            lane.boxes[queue] = self._outboxes[queue] = Outbox(book, lane)
        self._on_room = on_room
        self._empty = asyncio.Event()
        self._empty.set()
        self.unsettled_bytes = 0
        self.lost_replies = 0  # replies that could not be written: the job ended all the same
        self.batches = 0
        self.ended = 0  # jobs whose outcome is recorded

    @property
    def unsettled(self) -> int:
        """How many decided jobs Redis has not confirmed."""
        return sum(len(box.waiting) + len(box.sending) + len(box.held) for box in self._outboxes.values())

    @property
    def held(self) -> int:
        """How many of them Redis refused to take."""
        return sum(len(box.held) for box in self._outboxes.values())

    def put(self, flight: Flight, settlement: Settlement) -> None:
        """Take the decided end of a job."""
        flight.settlement = settlement
        box = self._outboxes[flight.entry.queue]
        if not box.waiting:  # else the loop has been woken, or will look again after the call that it is in
            self._empty.clear()
            box.lane.wake.set()
        box.waiting.append(flight)
        if flight.kin_ids:
            box.has_kin = True
        self.unsettled_bytes += _size(settlement)
        if _is_awaited(settlement) or len(box.waiting) >= FULL_BATCH_JOBS or self.unsettled_bytes >= MAX_BATCH_BYTES:
            box.lane.hurry.set()

    def hurry(self, queue: str) -> None:
        """Have what waits go now: Redis is about to be asked for something, and one way there does for both."""
        lane = self._outboxes[queue].lane
        if lane.wake.is_set():
            lane.hurry.set()

    def drop(self, queue: str, flights: Iterable[Flight]) -> int:
        """Forget what is unsettled of these: they are another daemon's now. Return how many had never been sent."""
        box, gone = self._outboxes[queue], set(map(id, flights))
        unsent = sum(id(flight) in gone for flight in chain(box.waiting, box.held.values()))
        for flight in [*box.waiting, *box.sending, *box.held.values()]:
            if id(flight) in gone:
                self._forget(flight)
        box.waiting = deque(flight for flight in box.waiting if id(flight) not in gone)
        box.sending = [flight for flight in box.sending if id(flight) not in gone]
        box.held = {entry_id: flight for entry_id, flight in box.held.items() if id(flight) not in gone}
        self._note_if_empty()
        return unsent

    async def wait_empty(self) -> None:
        """Wait until everything decided is confirmed, but for what Redis refuses to take."""
        await self._empty.wait()

    async def run(self, session: Session, pulse: Pulse, queue: str) -> None:
        """Settle `queue`, and those in its lane, until cancelled.

        Raises `BrokerError` when the session breaks: `FencedError` if the lease is gone.
        """
        lane = self._outboxes[queue].lane
        for box in lane.boxes.values():
            # Of a call whose answer was lost nobody knows whether it was carried out. Send the same again.
            box.unsend()
        lane.wake.set()
        while True:
            await lane.wake.wait()
            await self._let_more_come(lane)
            lane.wake.clear()
            lane.hurry.clear()
            pulse.expect("settling", SETTLE_BOUND_S)
            await self._settle_all(session, lane)
            lane.pause_until = asyncio.get_running_loop().time() + PAUSE_S
            pulse.rest("settling")
            self._go_on_with_the_rest(lane)

    async def _settle_all(self, session: Session, lane: Lane) -> None:
        """Send a batch of each queue that has one, without waiting for one answer before the next call."""
        full = [(queue, box) for queue, box in lane.boxes.items() if box.waiting]
        if len(full) == 1:
            await self._settle_batch(session, *full[0])
            return
        async with asyncio.TaskGroup() as group:
            for queue, box in full:
                group.create_task(self._settle_batch(session, queue, box))

    async def _let_more_come(self, lane: Lane) -> None:
        """Wait until the pause after the last call is over, or nothing is to be gained by it."""
        left_s = lane.pause_until - asyncio.get_running_loop().time()
        if left_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await lane.hurry.wait()

    def _go_on_with_the_rest(self, lane: Lane) -> None:
        """Have what came during the calls, or was too much for them, go with the next."""
        for box in lane.boxes.values():
            if box.waiting:
                lane.wake.set()
                is_full = len(box.waiting) >= FULL_BATCH_JOBS or self.unsettled_bytes >= MAX_BATCH_BYTES
                if is_full or any(flight.settlement and _is_awaited(flight.settlement) for flight in box.waiting):
                    lane.hurry.set()

    async def _settle_batch(self, session: Session, queue: str, box: Outbox) -> None:
        batch = self._take_batch(box)
        if box.has_kin:
            batch = await self._post(session, queue, box)
        settlements = [flight.settlement for flight in batch if flight.settlement is not None]
        faultpoints.hit("before_settle")
        reply = await session.settle(queue, settlements)
        faultpoints.hit("after_settle")
        if reply.fenced:
            box.unsend()  # nothing of it was done
            raise FencedError(queue)
        if box.has_kin and (gone := kin.gone_on(batch)):
            await self._bring_wishes(session, queue, gone)
        self._alarms[queue].note(reply.next_due_ms)
        self.batches += 1
        if reply.lost_replies:
            self.lost_replies += reply.lost_replies
            log.warning("replies could not be written; the jobs have ended", queue=queue, jobs=reply.lost_replies)
        box.sending.clear()
        failed = dict(reply.failed)
        settled = []
        for flight in batch:
            if flight.dropped:
                continue  # since the call went out: it is another daemon's now, and off our books
            entry_id = flight.entry.entry_id
            if entry_id in failed:
                self._hold_back(box, flight, failed[entry_id])
                continue
            box.book.close(entry_id)
            self._forget(flight)
            self.ended += not isinstance(flight.settlement, Readd)
            settled.append(flight)
        self._note_if_empty()
        self._on_room(settled)

    async def _post(self, session: Session, queue: str, box: Outbox) -> list[Flight]:
        """Bring into other queues what the ends of chains' steps mean there; return what can be settled after that.

        First a look whether these jobs are still ours: what is told elsewhere nobody can fence off.
        """
        posts = [(flight, post) for flight in box.sending for post in kin.posts_of(flight.settlement)]
        if not posts:
            return list(box.sending)
        taken = await session.taken(queue, list(dict.fromkeys(flight.entry.entry_id for flight, _ in posts)))
        ours = [each for each in posts if not each[0].dropped and each[0].entry.entry_id not in taken]
        # All at once: a call each, one after the other, would hold up everybody's ends for as many round trips.
        answers = await asyncio.gather(*(session.post(post) for _, post in ours))
        refused = {
            id(flight): (flight, why)
            for (flight, _), why in zip(ours, answers, strict=True)
            if why and not flight.dropped
        }
        box.sending = [flight for flight in box.sending if id(flight) not in refused]
        for flight, why in refused.values():
            self._hold_back(box, flight, why)
        faultpoints.hit("after_post")
        return list(box.sending)

    async def _bring_wishes(self, session: Session, queue: str, gone: dict[str, Flight]) -> None:
        """Have chains cancelled where they have gone on, if somebody wished that before this queue knew where that is.

        A wish that comes later finds that out by itself.
        """
        reply = await session.renew(queue, list(gone))
        if reply.fenced:
            raise FencedError(queue)
        for name in reply.cancelled:
            flight = gone[name]
            answer = f"> {kin.home_of(flight)}"
            for _ in range(MAX_HOPS):
                if not answer.startswith("> "):
                    break
                answer = await session.post(kin.wish(flight, answer.removeprefix("> ")))
            if answer:
                log.warning("a chain that was cancelled has gone on: cancel it again", error=answer, **about(flight))

    def _take_batch(self, box: Outbox) -> list[Flight]:
        size = 0
        while box.waiting and len(box.sending) < MAX_BATCH_JOBS:
            settlement = box.waiting[0].settlement
            size += _size(settlement) if settlement is not None else 0
            if box.sending and size > MAX_BATCH_BYTES:
                break
            box.sending.append(box.waiting.popleft())
        return list(box.sending)

    def _hold_back(self, box: Outbox, flight: Flight, why: str) -> None:
        """Keep a job that Redis did not take, still pending there, and try again later."""
        if why != flight.complaint:
            flight.complaint = why
            log.error(
                "the end of a job cannot be recorded; it is kept and tried again until that is put right",
                queue=box.book.queue,
                job_id=flight.job_id,
                task=flight.task,
                delivery=flight.delivery,
                error=why,
            )
        box.held[flight.entry.entry_id] = flight
        asyncio.get_running_loop().call_later(STUCK_RETRY_S, self._try_again, box, flight)

    def _try_again(self, box: Outbox, flight: Flight) -> None:
        if box.held.get(flight.entry.entry_id) is flight:  # it may have been let go, and even be here anew
            del box.held[flight.entry.entry_id]
            box.waiting.append(flight)
            self._empty.clear()
            box.lane.wake.set()

    def _forget(self, flight: Flight) -> None:
        if flight.settlement is not None:
            self.unsettled_bytes -= _size(flight.settlement)

    def _note_if_empty(self) -> None:
        if not any(box.waiting or box.sending for box in self._outboxes.values()):
            self._empty.set()


def _is_awaited(settlement: Settlement) -> bool:
    """Say whether somebody waits for this outcome now."""
    if isinstance(settlement, Readd):
        return False
    kinship = settlement.kin
    return settlement.reply_to is not None or (kinship is not None and bool(kinship.following or kinship.post))


def _size(settlement: Settlement) -> int:
    """Return about how many bytes of a settlement go to Redis."""
    if isinstance(settlement, Finish) and settlement.outcome is None and settlement.kin is None:
        return 0  # nearly all: nobody asked for it
    match settlement:
        case Finish(outcome=outcome):
            size = len(outcome or b"")
            return size if settlement.kin is None else size + _size_of_kin(settlement.kin)
        case Bury(outcome=outcome, message=message):
            size = len(outcome or b"") + len(message)
            return size if settlement.kin is None else size + _size_of_kin(settlement.kin)
        case Readd(message=message):
            return len(message)


def _size_of_kin(kinship: Kin) -> int:
    return len(kinship.body) + len(kinship.following) + (len(kinship.post.message) if kinship.post else 0)
