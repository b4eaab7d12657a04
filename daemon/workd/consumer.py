"""One life of the connection after another: connect, register, catch up, consume; on any error all of it anew.

Owns the session and the loops that use it. "Connected" is not "consuming": the consumer counts as consuming when the
last fetch came back, not when a socket is open. Nothing survives a broken session but what the dispatcher holds, and
that is settled in the next one.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workd import cron, faultpoints, leases, schedule
from workd.broker import queues
from workd.broker.servers import Servers
from workd.broker.session import Session
from workd.control import Control
from workd.errors import BrokerError, FencedError, WrongKeyTypeError
from workd.log import get_logger
from workd.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd.control import Command
    from workd.dispatcher import Dispatcher

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 0.5
WRONG_KEY_BACKOFF_S = 2.0
CALL_S = 10.0  # more than any call may take beyond its block: the session itself gives up earlier
TAKE_S = 30.0  # what a full batch of the largest messages takes to read and admit
REDIS_TROUBLE = "Redis is not usable; trying again until it is"
SETTING_TROUBLE = "a setting of Redis can cost jobs"
BLOCK_MS = 2500  # how long a fetch waits for the first entry; also how old the proof of consuming may grow

log = get_logger("workd.consumer")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the jobs come from, and in whose name they are fetched."""

    redis_url: str
    daemon_id: str
    queues: tuple[str, ...]
    inbox_queues: tuple[str, ...]
    lease_s: float
    dead_limits: schedule.DeadLimits
    require_redis: bool = False  # the first failure to connect is an error instead of a wait
    queue_weights: Mapping[str, int] | None = None  # none: the queues are served in their order


class Consumer:
    """Brings entries to the dispatcher and its settlements to Redis, whatever happens to the connection."""

    def __init__(self, source: Source, dispatcher: Dispatcher, servers: Servers | None = None) -> None:
        """Prepare; `run` does the work. In a Cluster, all queues of `source` have to be on one node."""
        self._source = source
        self._servers = servers or Servers(source.redis_url)
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._quiet = asyncio.Event()
        self._intake_done = asyncio.Event()
        self._departing = asyncio.Event()
        self._missed = asyncio.Event()  # a wish by the control channel that found nothing to stop
        self._session: Session | None = None
        self._interrupting: asyncio.Future[None] | None = None  # held: the loop alone would let it go
        self.told: set[str] = set()  # what was said of the server's settings
        self.control = Control(self._obey)
        self.pulse = Pulse()

    async def run(self) -> None:
        """Consume until cancelled. Raises `BrokerError` only for a first connection with `require_redis`."""
        attempt = 0
        while True:
            errors = await self._until_it_breaks()
            if self.pulse.consuming:
                attempt = 0
            elif self._source.require_redis and self.pulse.failures == 0:
                message = f"redis_url: {errors[0]}"
                raise BrokerError(message) from errors[0]
            await self._back_off(attempt, errors[0])
            attempt += 1

    async def _until_it_breaks(self) -> list[BrokerError]:
        """Run one session and return what broke it. Raises what is no `BrokerError`.

        In a task of its own: a task group that is ending for an error keeps a cancellation to itself (before Python
        3.13), and this one must not be taken for an outage.
        """
        session = asyncio.ensure_future(self._one_session())
        try:
            await asyncio.wait({session})
        finally:
            session.cancel()
            await asyncio.wait({session})
            if not session.cancelled():
                session.exception()  # heard here: who is being cancelled does not come to ask for it below
        errors: list[BrokerError] = []
        try:
            session.result()
        except* BrokerError as group:
            errors = _leaves(group)
        return errors

    async def quiet(self) -> None:
        """Fetch nothing more; return when the last read has come back and is in the dispatcher's hands."""
        self._quiet.set()
        self._dispatcher.room_changed.set()
        if self._session is None:
            return  # nothing is being read, and the next session will not read either
        # A second signal cancels this wait; the call itself goes on, or it would take the connection with it that
        # everything after it needs: the hand-backs and the departure.
        self._interrupting = asyncio.ensure_future(self._interrupt(self._session))
        await asyncio.shield(self._interrupting)
        await self._intake_done.wait()

    def look_again(self) -> None:
        """Have it see at once which queues may be read now: a read under way is of those that were open before."""
        self._dispatcher.room_changed.set()
        if self._session is not None:
            self._interrupting = asyncio.ensure_future(self._interrupt(self._session))

    async def _interrupt(self, session: Session) -> None:
        with suppress(BrokerError):
            await session.interrupt()

    async def depart(self) -> None:
        """Give up the leases, so that nobody waits for them to run out. Nothing can be settled after this."""
        self._departing.set()  # a renewal would find the lease gone and break the session under the other queues
        if self._session is None:
            log.warning("no connection: the leases are left to run out", lease_s=self._source.lease_s)
            return
        for queue in self._source.queues:
            for ask in self._dispatcher.gate.last_asks(queue):  # or a job that comes next waits until others find them
                await self._session.permit(queue, ask)
            if not await self._session.depart(queue):
                log.warning(
                    "jobs are still pending here; others take them over once the lease has run out", queue=queue
                )

    async def _back_off(self, attempt: int, error: BrokerError) -> None:
        """Say what is wrong, and wait: short enough to consume within a second of Redis' return."""
        pulse = self.pulse
        pulse.connected = pulse.consuming = False
        pulse.failures += 1
        pulse.trouble = str(error)
        if isinstance(error, FencedError):
            self._dispatcher.tallies.by_queue[error.queue].leases_lost += 1
        if pulse.should_say(str(error)):
            fenced = isinstance(error, FencedError)
            log.warning("registering anew" if fenced else REDIS_TROUBLE, error=str(error))
        if self._quiet.is_set():
            self._end_intake()
        delay_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        if isinstance(error, WrongKeyTypeError):
            delay_s = WRONG_KEY_BACKOFF_S
        gc.collect()  # what a broken session leaves is in a circle with its traceback, and may hold what it had fetched
        pulse.expect("the next attempt to connect", delay_s)
        await asyncio.sleep(delay_s)

    async def _one_session(self) -> None:
        source, dispatcher, pulse = self._source, self._dispatcher, self.pulse
        pulse.expect("connecting", 3 * CALL_S)
        pulse.rest("the next attempt to connect")
        session = await Session.open(
            source.redis_url,
            source.daemon_id,
            source.lease_s,
            servers=self._servers,
            queue=source.queues[0],
        )
        session.weigh(source.queue_weights or {})
        session.time_calls(dispatcher.tallies.round_trips.note)
        self._session = session  # before it registers: a drain that begins now has to wait for that, and depart
        try:
            self._tell(await session.check())
            for queue in source.queues:
                pulse.expect("connecting", 2 * CALL_S)
                await self._claim(session, queue)
            asked_at_s = time.time()
            dispatcher.clock.set_by(await session.now_ms(), asked_at_s)
            pulse.connected, pulse.trouble = True, ""
            pulse.rest("connecting")
            async with asyncio.TaskGroup() as group:
                group.create_task(dispatcher.settler.run(session, pulse, source.queues[0]))
                group.create_task(
                    leases.renew(
                        session, dispatcher, source.queues, source.lease_s, pulse, self._departing, self._missed
                    )
                )
                if self._servers.may_move:
                    group.create_task(self._servers.until_moved(f"workd:{source.daemon_id}"))
                group.create_task(self.control.listen(session))
                group.create_task(dispatcher.progress.run(session, source.queues, source.lease_s))
                group.create_task(dispatcher.queue_watch.run(session, source.queues))
                group.create_task(self._take_in(session))
        finally:
            self._session = None
            pulse.rest_all()
            pulse.expect("closing the connection", CALL_S)
            await session.close()
            pulse.rest("closing the connection")

    def _tell(self, warnings: tuple[str, ...]) -> None:
        """Say what the server's settings can cost: once, until that changes."""
        for text in warnings:
            if text not in self.told:
                log.warning(SETTING_TROUBLE, what=text)
        self.told.update(warnings)
        self.pulse.warnings = warnings

    async def _claim(self, session: Session, queue: str) -> None:
        """Have a lease on the queue, and stop what another daemon has taken over from us meanwhile.

        Asked each time, not only when `register` says that the old lease was gone: that answer can be lost, and the
        next attempt would find the new lease and take it for the old one.
        """
        lease_kept = await session.register(queue)
        pause = await session.ask("asking for a pause", queue, lambda link, _: queues.state_if_any(link, queue))
        self._dispatcher.gate.note_paused(queue, pause)
        if held := list(self._dispatcher.books[queue].flights):
            self._dispatcher.let_go(queue, await session.taken(queue, held), lease_kept=lease_kept)

    async def _take_in(self, session: Session) -> None:
        """Fetch until told to be quiet; what the last read brought is in the dispatcher's hands at the end."""
        source, dispatcher, quiet = self._source, self._dispatcher, self._quiet
        count = len(dispatcher.books)  # also those that another consumer serves
        await self._take_unknown(session)  # in a drain too: then it is handed back
        if not quiet.is_set():
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fetch(session))
                group.create_task(dispatcher.gate.run(session, source.queues, quiet))
                for queue in source.queues:
                    group.create_task(leases.take_over(session, dispatcher, queue, self.pulse, quiet, count))
                    group.create_task(schedule.move_due(session, dispatcher.alarms[queue], queue, quiet))
                    group.create_task(schedule.trim_dead(session, source.dead_limits, queue, quiet, count))
                    group.create_task(cron.keep_time(session, dispatcher.timetable, queue, quiet))
                for queue in source.inbox_queues:
                    group.create_task(schedule.move_inbox(session, queue, quiet))
        self._end_intake()

    def _end_intake(self) -> None:
        self._dispatcher.gate.give_back(self._source.queues)
        self._intake_done.set()

    async def _take_unknown(self, session: Session) -> None:
        """Take what is pending for us and unknown here: reads whose reply was lost.

        Asked at each connection and, between two fetches, once a lease: in a partition a server can go on handing
        entries to a connection that we have given up, and learn only later that it is closed.
        """
        dispatcher = self._dispatcher
        for queue in self._source.queues:
            self.pulse.expect("reading what is pending", TAKE_S)
            async with dispatcher.taking[queue]:
                entries = await session.history(queue, dispatcher.books[queue].knows)
                await dispatcher.take(session, entries)
        self.pulse.rest("reading what is pending")

    def _obey(self, command: Command) -> None:
        """Do what came by the control channel, if it concerns us."""
        if command.queue in self._dispatcher.books and not self._dispatcher.cancel(
            command.queue, frozenset({command.id})
        ):
            self._missed.set()

    def _note_consuming(self) -> None:
        if not self.pulse.consuming:
            self.pulse.consuming = True
            self.pulse.sessions += 1
            self._dispatcher.state_changed.set()
            log.info("connected to Redis", queues=list(self._source.queues), session=self.pulse.sessions)

    async def _fetch(self, session: Session) -> None:
        pulse = self.pulse
        audit_at = self._loop.time() + self._source.lease_s
        while not self._quiet.is_set():
            count = await self._room()
            if not count:
                continue
            if self._loop.time() > audit_at:
                audit_at = self._loop.time() + self._source.lease_s
                await self._take_unknown(session)
            # The first one does not wait: it is the proof that we consume.
            await self._read(session, count, BLOCK_MS if pulse.consuming else 0)

    async def _room(self) -> int:
        """Return how many entries to read now; 0 after a wait for room."""
        dispatcher = self._dispatcher
        count = dispatcher.room() if dispatcher.gate.open_queues(self._source.queues) else 0
        if not count:
            self._note_consuming()  # as much as it can
            dispatcher.room_changed.clear()
            await self._rest()
        return count

    async def _rest(self) -> None:
        """Wait while the pool is full, or all is paused: that is all right."""
        dispatcher, time = self._dispatcher, self._loop.time
        is_paused = not dispatcher.gate.open_queues(self._source.queues)
        self.pulse.waits_for_room = True
        if not is_paused:
            dispatcher.tallies.wait_for_room(time())
        try:
            await dispatcher.room_changed.wait()
        finally:
            self.pulse.waits_for_room, self.pulse.fetched_at = False, time()  # no fetch is late that could not be sent
            if not is_paused:
                dispatcher.tallies.go_on(time())

    async def _read(self, session: Session, count: int, block_ms: int) -> bool:
        """Read once and have taken what came; False if that was nothing."""
        dispatcher, pulse = self._dispatcher, self.pulse
        pulse.expect("the fetch", block_ms / 1000 + CALL_S)
        dispatcher.settler.hurry(self._source.queues[0])
        entries = await session.fetch(dispatcher.gate.open_queues(self._source.queues), count, block_ms)
        pulse.fetched_at = self._loop.time()
        came = bool(entries)
        if came:
            faultpoints.hit("after_fetch")
        self._note_consuming()
        if came:
            pulse.expect("the fetch", TAKE_S)
            await dispatcher.take(session, entries)
            entries.clear()  # or they would be kept until the next ones come
        pulse.rest("the fetch")
        return came


def _leaves(group: BaseExceptionGroup[BrokerError]) -> list[BrokerError]:
    """Return the errors themselves, out of however many groups."""
    found: list[BrokerError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
