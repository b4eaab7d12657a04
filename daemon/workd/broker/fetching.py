"""The reads of new entries: in turn over the queues, then one blocked read over all, which can be ended from outside.

Whose turn it is says `turns.py`. While all queues are empty there is nothing but the blocked read.

Owned by the session, on a connection of its own, so that nothing waits behind a blocked read. A read is never ended by
closing the socket: what Redis has handed over would be ours and unknown to us. `interrupt` has Redis end it (CLIENT
UNBLOCK), and the reply is read like any other.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import ResponseError

from workd.broker import entries, faults, keys, scripts
from workd.broker.entries import Entry
from workd.broker.link import Link
from workd.broker.turns import Read, Turns

_UNBLOCK_AGAIN_S: Final = 0.001
_REGROUPS: Final = 5


@dataclass(slots=True)
class Fetcher:
    """Reads for one consumer. `link` is its own, `control` is where CLIENT UNBLOCK goes."""

    link: Link
    control: Link
    client_id: int
    consumer: str
    margin_s: float
    """How much longer than asked a blocked read may take before its connection counts as dead."""
    turns: Turns = field(default_factory=Turns)
    _wake: bool = False  # set by interrupt(), which may come before the read; cleared by the fetch that heeds it
    _blocked: int = 0  # number of the blocked read in flight, 0: none
    _reads: int = 0

    async def fetch(self, queues: Sequence[str], count: int, block_ms: int) -> list[Entry]:
        """See `Session.fetch`."""
        if count < 1 or not queues:
            return []  # to Redis, COUNT 0 means all there is; and all queues may have been paused a moment ago
        self.turns.serve(queues)
        deadline = time.monotonic() + block_ms / 1000
        found: list[Entry] = []
        if self._must_not_block(deadline) or (len(queues) > 1 and not self.turns.all_empty(queues)):
            found = await self._in_turn(queues, count)
        if found or self._must_not_block(deadline):
            self._wake = False
            return found
        self._reads += 1
        self._blocked = self._reads
        try:
            return await self._read_and_note(Read(queues, max(1, count // len(queues))), deadline)
        finally:
            self._blocked = 0
            self._wake = False

    async def interrupt(self) -> None:
        """End the blocked read; with none in flight, the next fetch that would block returns instead."""
        self._wake = True
        blocked = self._blocked
        while blocked and self._blocked == blocked:
            if await self.control.call(b"CLIENT", b"UNBLOCK", self.client_id):
                return
            await asyncio.sleep(_UNBLOCK_AGAIN_S)  # it is on its way to Redis, or its reply on the way to us

    async def _in_turn(self, queues: Sequence[str], count: int) -> list[Entry]:
        found: list[Entry] = []
        for read in self.turns.reads(queues, lambda: count - len(found)):
            try:
                found.extend(await self._read_and_note(read, None))
            except ResponseError:
                if not found:
                    raise
                break  # what was read is ours and must be known; the error will be back
        return found

    async def _read_and_note(self, read: Read, deadline: float | None) -> list[Entry]:
        found = await self._read(read.queues, read.most, deadline)
        if len(read.queues) == 1:
            self.turns.note(read, {read.queues[0]: len(found)})
        else:
            self.turns.note(read, Counter(entry.queue for entry in found))
        return found

    async def _read(self, queues: Sequence[str], count: int, deadline: float | None) -> list[Entry]:
        """Read, and make groups that are gone again; give up where somebody deletes them as fast."""
        for _ in range(_REGROUPS):
            try:
                return await self._read_once(queues, count, deadline)
            except ResponseError as error:
                if not faults.group_is_gone(error):
                    raise
            for queue in queues:
                await scripts.REGROUP.call(self.control, (keys.stream(queue),), keys.GROUP)
        return []

    def _must_not_block(self, deadline: float) -> bool:
        return self._wake or deadline - time.monotonic() < 0.001  # noqa: PLR2004  (Redis counts ms, 0 is for ever)

    async def _read_once(self, queues: Sequence[str], count: int, deadline: float | None) -> list[Entry]:
        block: tuple[bytes | int, ...] = ()
        timeout_s = None
        if deadline is not None:
            block_ms = max(1, math.ceil((deadline - time.monotonic()) * 1000))
            block = (b"BLOCK", block_ms)
            timeout_s = block_ms / 1000 + self.margin_s
        streams = [keys.stream(queue) for queue in queues]
        head = (b"XREADGROUP", b"GROUP", keys.GROUP, self.consumer, b"COUNT", count)
        ids = (b">",) * len(queues)
        reply = await self.link.call(*head, *block, b"STREAMS", *streams, *ids, timeout_s=timeout_s)
        return _entries(queues, streams, reply)


def _entries(queues: Sequence[str], streams: Sequence[str], reply: Any) -> list[Entry]:
    if not reply:
        return []
    if isinstance(reply, dict):  # RESP3
        reply = list(reply.items())
    if len(queues) == 1:
        return entries.from_read(queues[0], reply[0][1])
    by_key = dict(zip(streams, queues, strict=True))
    return [entry for key, rows in reply for entry in entries.from_read(by_key[key.decode()], rows)]
