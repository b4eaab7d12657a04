"""Messages on their way to Redis, for asyncio: see sender.py, whose rules are the same.

Owned here: the lanes of an asynchronous client, and what it knows of its server's disk. Called by the client's core.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import NoScriptError

from workd.client import commands, durability
from workd.client.connection import Deadline
from workd.client.sending import READING, Attempts, Lanes, marker_ms
from workd.errors import ClientError, NotDurableError
from workd.tracing import sending as traces
from workd.tracing.names import has_provider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from workd.client.async_link import AsyncLink
    from workd.client.commands import Command
    from workd.client.message import Draft
    from workd.signing import Signing

T = TypeVar("T")


class AsyncSender:
    """Adds messages to streams, in one event loop."""

    def __init__(self, link: AsyncLink, signing: Signing | None = None) -> None:
        """Send over this link, signed where there is a key."""
        self._link = link
        self.signing = signing
        self._lanes = Lanes()
        self._marker_ms = marker_ms(link.deadline_s)
        self._with_disk: set[str] = set()  # queues whose server was asked, and did not refuse to answer for its disk

    async def add(self, draft: Draft, messages: Sequence[bytes]) -> list[bytes]:
        """Add the messages of one call and return their entry ids; raises as `Sender.add`.

        Of a call that is cancelled the lane is never used again.
        """
        if not has_provider() or "trace" in draft.fields:
            return await self._add(draft, messages)
        with traces.sending(draft.target.name, draft.queue, len(messages)) as sent:
            entry_ids = await self._add(draft, sent.marked(messages))
            sent.became(draft.job_ids(entry_ids))
            return entry_ids

    async def _add(self, draft: Draft, messages: Sequence[bytes]) -> list[bytes]:
        sending = draft.sending
        if not sending.retries and not sending.durable:
            return await self._add_once(draft.queue, messages)
        lane = self._lanes.take()
        command = commands.add_marked(draft.queue, commands.signed(messages, self.signing), lane, self._marker_ms)
        async with self._link.places:  # the deadline begins with its turn
            entry_ids = await self._send(draft, command)
        self._lanes.give_back(lane)
        return entry_ids

    async def send(self, draft: Draft, command: Command) -> list[bytes]:
        """Add the messages of a call of a script that tells by itself a second time from the first; as `add`."""
        async with self._link.places:
            return await self._send(draft, command)

    async def _send(self, draft: Draft, command: Command) -> list[bytes]:
        deadline = Deadline(self._link.deadline_s)
        if draft.sending.durable:
            await self._require_disk(draft.queue, deadline)
        attempts = Attempts(deadline, draft.sending)
        while True:
            try:
                return await self._call(draft, command, attempts.deadline())
            except ClientError as error:
                await asyncio.sleep(attempts.pause_s(error))
            except NoScriptError:  # the server has been restarted, or never had it; nothing was run
                command = commands.whole_script(command)

    async def _add_once(self, queue: str, messages: Sequence[bytes]) -> list[bytes]:
        if len(messages) == 1:
            return [await self._link.call(commands.add(queue, messages[0], self.signing))]
        words = commands.signed(messages, self.signing)
        try:
            ids: list[bytes] = await self._link.call(commands.add_many(queue, words, whole_script=False))
        except NoScriptError:
            ids = await self._link.call(commands.add_many(queue, words, whole_script=True))
        return ids

    async def _call(self, draft: Draft, command: commands.Command, deadline: Deadline) -> list[bytes]:
        sending = draft.sending
        questions = durability.questions(sending) if sending.durable else ()
        entry_ids: list[bytes]
        entry_ids, answers = await self._link.call_followed(command, questions, deadline)
        if questions and (why := durability.doubt(sending, answers)):
            raise NotDurableError(why, draft.job_ids(entry_ids)) from durability.failure(answers)
        return entry_ids

    async def _require_disk(self, queue: str, deadline: Deadline) -> None:
        """Refuse before anything is queued what could only be regretted afterwards."""
        if queue in self._with_disk:
            return
        _, answers = await self._link.call_followed(*durability.probe(queue), deadline)
        durability.raise_if_refused(answers)
        self._with_disk.add(queue)


async def persistently(read: Callable[[Deadline], Awaitable[T]], link: AsyncLink) -> T:
    """Call what changes nothing until it is answered, as long as that makes sense; raises what it raised."""
    async with link.places:
        attempts = Attempts(Deadline(link.deadline_s), READING)
        while True:
            try:
                return await read(attempts.deadline())
            except ClientError as error:
                await asyncio.sleep(attempts.pause_s(error))
