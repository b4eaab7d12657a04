"""Enqueueing chains and groups by way of an asynchronous client's core, and the handle of such a group.

Called by `AsyncClient`, for one event loop. The rules are those of group_sync.py and group_handle.py.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workd.client import group_calls
from workd.client.group_handle import job_of, of_summary, summary_of
from workd.client.handle import AsyncHandle, Job
from workd.client.sending import marker_ms
from workd.errors import ClientError, ResultGoneError, ResultTimeoutError
from workd.tracing import sending as traces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from workd.client.async_core import AsyncCore
    from workd.client.group_calls import GroupProgress
    from workd.client.group_handle import GroupSummary
    from workd.client.group_messages import Writer
    from workd.client.groups import Group, Work


class AsyncGroupHandle:
    """A group that `AsyncClient` enqueued: `GroupHandle`, awaited."""

    def __init__(
        self, core: AsyncCore, job: Job, members: Sequence[AsyncHandle[Any]], callback: AsyncHandle[Any] | None
    ) -> None:
        """Belong to a client's core; `job` stands for the group."""
        self._core = core
        self._whole: AsyncHandle[Any] = AsyncHandle(core, job)
        self.members = list(members)
        """The members' handles, in order; none for a group that somebody else enqueued."""
        self.callback = callback
        """The handle of the callback, if it has one."""

    @property
    def id(self) -> str:
        """The group's id."""
        return self._whole.id

    @property
    def queue(self) -> str:
        """The queue it lives in."""
        return self._whole.queue

    def __repr__(self) -> str:
        """Show id, queue and size."""
        return f"<AsyncGroupHandle {self.id} on {self.queue!r}, {len(self.members)} members>"

    async def progress(self) -> GroupProgress:
        """Ask how far it is; see `GroupHandle.progress`."""
        answer = await self._core.link.call(group_calls.progress(self.queue, self.id))
        found = group_calls.read_progress(answer)
        if found is not None:
            return found
        if await self._whole.status() != "succeeded":
            raise ResultGoneError(self.id, "nothing is kept of this group (any more)")
        return of_summary(await self.summary(0))

    async def summary(self, timeout: float | None = None) -> GroupSummary:
        """Wait until it has ended, and return how; see `GroupHandle.summary`."""
        return summary_of(await self._whole.get(timeout))

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until all members have ended, or the deadline is over; say whether that is so within `timeout`."""
        return await self._whole.wait(timeout)

    async def results(self, timeout: float | None = None) -> list[Any]:
        """Wait for the members and return their values in order; see `GroupHandle.results`."""
        end_s = None if timeout is None else time.monotonic() + timeout
        return [
            await member.get(None if end_s is None else max(0.0, end_s - time.monotonic())) for member in self.members
        ]

    def __aiter__(self) -> AsyncIterator[AsyncHandle[Any]]:
        """Give the members' handles as they end; see `as_ended`."""
        return self.as_ended()

    async def as_ended(self, timeout: float | None = None) -> AsyncIterator[AsyncHandle[Any]]:
        """Give the members' handles as they end. Raises ResultTimeoutError after `timeout` seconds in all."""
        end_s = None if timeout is None else time.monotonic() + timeout
        waiting = {asyncio.ensure_future(member.outcome()): member for member in self.members}
        try:
            while waiting:
                left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
                ended, _ = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if not ended:
                    raise ResultTimeoutError(self.id, timeout or 0.0)
                for task in ended:
                    task.result()
                    yield waiting.pop(task)
        finally:
            for task in waiting:
                task.cancel()

    async def cancel(self) -> None:
        """Cancel every member that has not ended; see `GroupHandle.cancel`."""
        await self._core.link.call(group_calls.cancel(self.queue, self.id))
        with suppress(ClientError):
            await self._core.link.call(group_calls.hurry_cancel(self.queue, self.id))
            await self._hurry_scheduled()

    async def _hurry_scheduled(self) -> None:
        cursor, end_s = b"0", time.monotonic() + self._core.link.deadline_s
        while time.monotonic() < end_s:
            cursor, found = await self._core.link.call(group_calls.look_for_scheduled(self.queue, self.id, cursor))
            if found:
                await self._core.link.call(group_calls.make_due(self.queue, found))
            if cursor == b"0":
                return


async def enqueue_chain(core: AsyncCore, writer: Writer, work: Work) -> AsyncHandle[Any]:
    """Send the first step's message, which has the others in it."""
    draft, raw = writer.write(work)
    return await core.enqueue(draft, raw)


async def enqueue_group(core: AsyncCore, writer: Writer, of: Group) -> AsyncGroupHandle:
    """Send a group, in a span of its own if somebody wants one."""
    if not writer.is_traced:
        return await _enqueue_group(core, writer, of)
    with traces.sending("group", "") as sent:
        handle = await _enqueue_group(core, writer.under(sent.carrier), of)
        sent.into(handle.queue, len(handle.members))
        return handle


async def _enqueue_group(core: AsyncCore, writer: Writer, of: Group) -> AsyncGroupHandle:
    """Send a group, some hundred members to a call."""
    envelopes = writer.write_group(of)
    mark = core.replies.mark(envelopes.queue)
    members: list[AsyncHandle[Any]] = []
    try:
        for call in group_calls.calls(envelopes):
            marker = marker_ms(core.link.deadline_s)
            command = group_calls.add(of, envelopes, call, marker, core.sender.signing)
            ids = await core.sender.send(call.drafts[0], command)
            members += [
                AsyncHandle(core, Job.of(draft, entry_id.decode(), core.replies, mark))
                for draft, entry_id in zip(call.drafts, ids, strict=True)
            ]
    except ClientError as failed:
        error = group_calls.told(envelopes.id, failed)
        error.add_note(
            f"{len(members)} members of group {envelopes.id} had been queued before; it ends at its deadline"
        )
        raise error from failed.__cause__
    whole = job_of(envelopes, core.replies, mark)
    callback = envelopes.callback
    ending: AsyncHandle[Any] | None = (
        None if callback is None else AsyncHandle(core, Job.of(callback, "", core.replies, mark))
    )
    return AsyncGroupHandle(core, whole, members, ending)
