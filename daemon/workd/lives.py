"""The queues of a Cluster: a consumer for each, with connections of its own, and one pool and dispatcher for all.

Each queue is in a slot of its own, slots move between nodes one by one, and no read can wait for two of them. So each
queue has its own life: a node that is gone, or a slot that moves, breaks the sessions of the queues that are there and
no others. What they share is the room in the pool, and `Turns` says who may read next.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from workd import redis_url
from workd.broker.servers import Servers
from workd.consumer import Consumer
from workd.errors import BrokerError
from workd.log import get_logger
from workd.pulse import Pulses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from workd.broker.session import Session
    from workd.consumer import Source
    from workd.dispatcher import Dispatcher

log = get_logger("workd.lives")

PATIENCE_S = 0.25  # more than a look takes, and less than a node that hangs


def are_apart(source: Source) -> bool:
    """Say whether each queue is served over connections of its own."""
    several = redis_url.several(source.redis_url)
    return several is not None and several.kind == "cluster" and len(source.queues) > 1


def consumer_of(source: Source, dispatcher: Dispatcher) -> Consumer | Lives:
    """Return what serves these queues."""
    if source.queue_weights and are_apart(source):
        log.warning("queue_weights say nothing in a Cluster: each queue is read by itself, the first named first")
    return Lives(source, dispatcher) if are_apart(source) else Consumer(source, dispatcher)


class Turns:
    """Who reads next: of those who wait, the queue that was named first.

    A turn is a look at what is there and the taking of it. It is a courtesy, not a lock: nobody waits long for a node
    that hangs. Then two may read for the same room, and what is too much waits in the pool for a while.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        """Nobody waits yet."""
        self._queues = tuple(queues)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._taken = False

    @asynccontextmanager
    async def of(self, queue: str) -> AsyncIterator[None]:
        """Wait for the turn of this queue, and give it on at the end."""
        mine = await self._wait(queue)
        try:
            yield
        finally:
            if mine:
                self._give_on()

    async def _wait(self, queue: str) -> bool:
        if not self._taken:
            self._taken = True
            return True
        turn = self._waiting[queue] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({turn}, timeout=PATIENCE_S)
        except asyncio.CancelledError:
            if turn.done():
                self._give_on()
            raise
        finally:
            self._waiting.pop(queue, None)
        return turn.done()

    def _give_on(self) -> None:
        self._taken = False
        for queue in self._queues:
            turn = self._waiting.pop(queue, None)
            if turn is not None:
                self._taken = True
                turn.set_result(None)
                return


class Life(Consumer):
    """The consumer of one queue among several."""

    def __init__(self, source: Source, dispatcher: Dispatcher, servers: Servers, turns: Turns) -> None:
        """Prepare; `source` has one queue."""
        super().__init__(source, dispatcher, servers)
        self._turns = turns
        self._worth_a_look = True

    async def _read(self, session: Session, count: int, block_ms: int) -> bool:
        """Look in turn at what is there; where that is nothing, wait for one entry, which says that there is more."""
        if self._worth_a_look or not block_ms:
            async with self._turns.of(self._source.queues[0]):
                count = self._dispatcher.room()  # others may have filled it meanwhile
                came = bool(count) and await super()._read(session, count, 0)
            if came or not count or not block_ms or self._quiet.is_set():
                self._worth_a_look = True
                return came
        self._worth_a_look = await super()._read(session, 1, block_ms)
        return self._worth_a_look


class Lives:
    """The consumers of all queues, as one."""

    def __init__(self, source: Source, dispatcher: Dispatcher) -> None:
        """Prepare; `run` does the work."""
        turns, servers = Turns(source.queues), Servers(source.redis_url)
        self._lives = {queue: Life(_part(source, queue), dispatcher, servers, turns) for queue in source.queues}
        told: set[str] = set()  # several queues may be on one node
        for life in self._lives.values():
            life.told = told
        self.pulse = Pulses({queue: life.pulse for queue, life in self._lives.items()})

    async def run(self) -> None:
        """Consume until cancelled; raises as `Consumer.run`."""
        running = [asyncio.ensure_future(life.run()) for life in self._lives.values()]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for life in running:
                if life.done():
                    life.result()
        finally:
            for life in running:
                life.cancel()
            await asyncio.wait(running)

    async def quiet(self) -> None:
        """Fetch nothing more; return when the last reads have come back."""
        await asyncio.gather(*(life.quiet() for life in self._lives.values()))

    def look_again(self) -> None:
        """Have all of them see at once which queues may be read now."""
        for life in self._lives.values():
            life.look_again()

    async def depart(self) -> None:
        """Give up the leases. Of several errors, raises the first, when all have been tried."""
        errors: list[BrokerError] = []
        for life in self._lives.values():
            try:
                await life.depart()
            except BrokerError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def _part(source: Source, queue: str) -> Source:
    """Return what one queue's consumer has to know."""
    return replace(source, queues=(queue,), inbox_queues=tuple({queue} & set(source.inbox_queues)))
