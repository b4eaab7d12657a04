"""What the views and handles of one asynchronous client share: see core.py, whose rules are the same.

Owned here: the link, the table of replies and its reader task. Made by `AsyncClient`, for one event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workd.client import cancelling, commands, daemons, progress
from workd.client.async_links import async_link_to
from workd.client.async_readers import async_reader_of
from workd.client.async_sender import AsyncSender, persistently
from workd.client.handle import AsyncHandle, Job
from workd.client.outcomes import CLOSED_AGAIN_S, LEAST_LOOK_S, CancelState, JobState, is_about_another, poll_pauses
from workd.client.replies import NOT_LIVE, ReplyTable
from workd.errors import ClientError, ResultTimeoutError, ServerUnavailableError
from workd.wire import Outcome, decode_outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from workd.client.connection import Deadline
    from workd.client.daemons import DaemonInfo
    from workd.client.message import Draft
    from workd.client.progress import JobProgress
    from workd.client.replies import OnOutcome
    from workd.signing import Signing

Arrivals = asyncio.Queue[Outcome]


class AsyncCore:
    """One connection to one Redis, as far as users are concerned."""

    def __init__(self, url: str, deadline_s: float, signing: Signing | None = None) -> None:
        """Check URL and deadline; nothing is connected yet."""
        self.link = async_link_to(url, deadline_s)
        self.sender = AsyncSender(self.link, signing)
        self.replies = ReplyTable()
        self.reader = async_reader_of(self.link, self.replies)
        self._closed = False
        for abandon in (self.reader.abandon, self.link.abandon):
            weakref.finalize(self, abandon).atexit = False

    async def close(self) -> None:
        """Stop the reader and close the connections; safe twice. Whoever waits looks for his result from then on."""
        self._closed = True
        await self.reader.stop()
        await self.link.close()

    async def enqueue(self, draft: Draft, raw: bytes) -> AsyncHandle[Any]:
        """Send one message."""
        mark = self.replies.mark(draft.queue)
        [entry_id] = await self.sender.add(draft, (raw,))
        return AsyncHandle(self, Job.of(draft, entry_id.decode(), self.replies, mark))

    async def enqueue_many(self, draft: Draft, raws: Iterable[bytes]) -> AsyncIterator[list[AsyncHandle[Any]]]:
        """Send many messages, and give their handles after each call."""
        for chunk in commands.chunks(raws):
            mark = self.replies.mark(draft.queue)
            entry_ids = await self.sender.add(draft, chunk)
            yield [AsyncHandle(self, Job.of(draft, entry_id.decode(), self.replies, mark)) for entry_id in entry_ids]

    async def cancel(self, job: Job) -> CancelState:
        """Have a job cancelled, wherever it is."""
        return await cancelling.cancel_async(self.link, job)

    async def daemons(self) -> list[DaemonInfo]:
        """Say which daemons there are."""
        return await daemons.daemons_async(self.link)

    async def progress(self, job: Job) -> JobProgress | None:
        """Say how far a job is."""
        return await progress.progress_async(self.link, job)

    async def wait_for(self, job: Job, timeout_s: float | None) -> Outcome:
        """Wait for a job's end. Raises ResultTimeoutError."""
        end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        arrived: Arrivals = asyncio.Queue()
        if job.table is self.replies:
            await self.reader.watch(job.queue)
        self.replies.expect(job.key, arrived.put_nowait)
        try:
            outcome = await self._wait(job, arrived, end_s)
        finally:
            self.replies.forget(job.key, arrived.put_nowait)
        if outcome is None:
            raise ResultTimeoutError(job.id, timeout_s or 0.0)
        return outcome

    async def status(self, job: Job) -> JobState:
        """Ask Redis where the job is."""
        return await persistently(lambda deadline: self._status(job, deadline), self.link)

    async def _status(self, job: Job, deadline: Deadline) -> JobState:
        raw = await self.link.call_in_turn(commands.result(job.queue, job.id), deadline)
        if raw is not None:
            return decode_outcome(raw).status.value
        if not job.has_entry_id or not await self.link.call_in_turn(commands.entry(job.queue, job.id), deadline):
            raw = await self.link.call_in_turn(
                commands.result(job.queue, job.id), deadline
            )  # it may have ended between the two
            return "unknown" if raw is None else decode_outcome(raw).status.value
        try:
            pending = await self.link.call_in_turn(commands.pending(job.queue, job.id), deadline)
        except ServerUnavailableError as error:
            if commands.is_no_group(error):  # no daemon has ever served this queue
                return "queued"
            raise
        return "running" if pending else "queued"

    async def _wait(self, job: Job, arrived: Arrivals, end_s: float) -> Outcome | None:
        """Wait for a reply, or look for the result again and again where no reply is sure to come."""
        pushed = job.table is self.replies
        look = arrived.empty() and (not pushed or self.is_in_doubt(job))
        pauses = poll_pauses()
        while True:
            outcome = await self._look_up(job, end_s) if look else None
            left_s = end_s - time.monotonic()
            look = self.must_look_for(job)
            pause_s = next(pauses) if look else CLOSED_AGAIN_S
            outcome = outcome or await self._arrival(job, arrived, min(pause_s, left_s))
            if outcome is not None or left_s <= pause_s:
                return outcome

    async def _arrival(self, job: Job, arrived: Arrivals, timeout_s: float) -> Outcome | None:
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                outcome = await arrived.get()
        except TimeoutError:
            return None
        if is_about_another(outcome, own_id=job.own_id, unique=job.unique):
            self.replies.expect(job.key, arrived.put_nowait)
            return None
        return outcome

    async def subscribe(self, jobs: Sequence[Job], on_outcomes: Sequence[OnOutcome], end_s: float = math.inf) -> None:
        """Have each callback called once with its job's outcome, from the reader's task or from here; as in core.py."""
        for job, on_outcome in zip(jobs, on_outcomes, strict=True):
            if job.table is self.replies:
                await self.reader.watch(job.queue)
            self.replies.expect(job.key, on_outcome)
        await self.look_for([job for job in jobs if self.is_in_doubt(job)], end_s)

    async def look_for(self, jobs: Iterable[Job], end_s: float = math.inf) -> None:
        """Deliver those of the outcomes that are in `result:<id>`; while Redis is away, none."""
        ids: dict[str, list[str]] = {}
        for job in jobs:
            ids.setdefault(job.queue, []).append(job.id)
        with suppress(ClientError, TimeoutError):  # the reader will look for them when it is connected again
            for queue_name, job_ids in ids.items():
                for some in commands.id_chunks(job_ids):
                    async with _look_until(end_s):
                        found = await self.link.call(commands.results(queue_name, some))
                    for raw in filter(None, found):
                        self.replies.deliver_raw(queue_name, raw)

    def is_in_doubt(self, job: Job) -> bool:
        """Say whether the job's outcome may have come unseen: its stream was not read all the time since."""
        return job.mark == NOT_LIVE or job.mark != self.replies.mark(job.queue)

    def must_look_for(self, job: Job) -> bool:
        """Say whether the job's outcome may never come as a reply; see core.py."""
        return self._closed or job.own_id or job.table is not self.replies

    async def _look_up(self, job: Job, end_s: float) -> Outcome | None:
        """Look into `result:<id>`; None also while Redis is away, since whoever waits will look again."""
        try:
            async with _look_until(end_s):
                raw = await self.link.call(commands.result(job.queue, job.id))
        except (ClientError, TimeoutError):
            return None
        return None if raw is None else decode_outcome(raw)


def _look_until(end_s: float) -> asyncio.Timeout:
    """End a look that takes longer than whoever waits for it."""
    return asyncio.timeout(None if end_s == math.inf else max(LEAST_LOOK_S, end_s - time.monotonic()))
