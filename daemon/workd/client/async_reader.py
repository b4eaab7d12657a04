"""The task that reads an asynchronous client's reply streams: see reader.py, whose rules are the same.

Owned here: one connection and one task per client, started when somebody first waits for a result.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from workd.client import commands
from workd.client.async_link import disconnect
from workd.client.commands import REFRESH_S, TRIM_EVERY
from workd.client.reader import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, MARGIN_S, WAKE_S
from workd.errors import ClientError, MessageError

if TYPE_CHECKING:
    from redis.asyncio.connection import Connection

    from workd.client.async_link import AsyncLink
    from workd.client.readers import QueueTable
    from workd.client.replies import ReplyTable

logger = logging.getLogger(__name__)


class AsyncReplyReader:
    """Reads the reply streams of the queues it is told to watch."""

    def __init__(self, link: AsyncLink, table: ReplyTable | QueueTable) -> None:
        """Begin with nothing to watch, and no task."""
        self._link = link
        self._table = table
        self._task: asyncio.Task[None] | None = None
        self._queues: frozenset[str] = frozenset()
        self._positions: dict[str, str] = {}
        self._untrimmed = 0
        self._backoff_s = 0.0
        self._stopped = False

    async def watch(self, queue: str) -> None:
        """Read this queue's replies from now on; returns before it is so."""
        is_reading = self._is_reading()
        if self._stopped or (is_reading and queue in self._queues):
            return
        self._queues |= {queue}
        if not is_reading:
            self._table.set_live(frozenset())
            self._task = asyncio.create_task(self._run(), name="workd-replies")
        for live in self._table.live:
            with suppress(ClientError, TimeoutError):  # then its read breaks, or times out
                async with asyncio.timeout(WAKE_S):
                    await self._link.call(commands.wake(live, self._table.name))
            return

    async def stop(self) -> None:
        """End the task; safe twice, and safe before it was started."""
        self._stopped = True
        if self._task is not None and self._is_reading():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def abandon(self) -> None:
        """Have the task end, from any thread: nobody has the client any more."""
        self._stopped = True
        if self._task is not None and not self._task.done():
            with suppress(RuntimeError):  # its loop has ended
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def _is_reading(self) -> bool:
        """Say whether the task is there: `asyncio.run` cancels it at its end, and so may others; each has its loop."""
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except ClientError as error:
                if not self._backoff_s:
                    logger.warning("results come late, the reply streams cannot be read: %s", error)
                self._backoff_s = min(LONGEST_BACKOFF_S, self._backoff_s * 2 or FIRST_BACKOFF_S)
                await asyncio.sleep(self._backoff_s * random.uniform(0.8, 1.2))  # noqa: S311 (spreads reconnects)

    async def _serve(self) -> None:
        """Read on one connection until it breaks."""
        connection = await self._link.connect(commands.wake(min(self._queues), self._table.name))
        try:
            while True:
                await self._refresh(connection)
                await self._read_until(connection, time.monotonic() + REFRESH_S)
        finally:
            self._table.set_live(frozenset())
            await disconnect(connection)

    async def _refresh(self, connection: Connection) -> None:
        queues = self._queues
        try:
            for queue in queues:
                sent = commands.refresh(queue, self._table.name, self._positions.get(queue))
                marker_id = (await self._link.ask(connection, sent, self._link.deadline_s))[0]
                self._positions.setdefault(queue, marker_id.decode())
            self._table.set_live(queues)
            self._backoff_s = 0.0
        finally:
            await self._look_up(connection)

    async def _look_up(self, connection: Connection) -> None:
        for queue, job_ids in self._table.waiting().items():
            for some in commands.id_chunks(job_ids):
                [found] = await self._link.ask(connection, [commands.results(queue, some)], self._link.deadline_s)
                for raw in filter(None, found):
                    self._deliver(queue, raw)

    async def _read_until(self, connection: Connection, refresh_at_s: float) -> None:
        while self._queues == self._table.live and (block_s := refresh_at_s - time.monotonic()) > 0:
            ask = commands.read(self._table.name, self._positions, block_s)
            [answer] = await self._link.ask(connection, [ask], block_s + MARGIN_S)
            for queue, entry_id, raw in commands.parse_read(self._table.name, self._positions, answer):
                self._positions[queue] = entry_id
                self._untrimmed += 1
                if raw is not None:
                    self._deliver(queue, raw)
            if self._untrimmed >= TRIM_EVERY:
                await self._trim(connection)

    async def _trim(self, connection: Connection) -> None:
        sent = [commands.trim(queue, self._table.name, last_id) for queue, last_id in self._positions.items()]
        await self._link.ask(connection, sent, self._link.deadline_s)
        self._untrimmed = 0

    def _deliver(self, queue: str, raw: bytes) -> None:
        try:
            self._table.deliver_raw(queue, raw)
        except MessageError as error:
            logger.warning("queue %s: what came as an outcome is none: %s", queue, error)
