"""What the views and handles of one synchronous client share.

Owned here: the link, the table of replies and its reader, and what becomes of them in a forked child: all
three are made anew there, since sockets, threads and locks of the parent are of no use to it. Made by
`Client`; handles keep it alive, and when nothing refers to it any more the reader's thread ends by itself.
"""

from __future__ import annotations

import math
import queue
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from workd.client import cancelling, commands, daemons, progress
from workd.client.connection import Deadline
from workd.client.forking import begin_with_each_process
from workd.client.handle import Handle, Job
from workd.client.links import link_to
from workd.client.outcomes import CLOSED_AGAIN_S, LEAST_LOOK_S, CancelState, JobState, is_about_another, poll_pauses
from workd.client.readers import reader_of
from workd.client.replies import NOT_LIVE, ReplyTable
from workd.client.sender import Sender, persistently
from workd.errors import ClientError, ResultTimeoutError, ServerUnavailableError
from workd.wire import Outcome, decode_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from workd.client.daemons import DaemonInfo
    from workd.client.link import Link
    from workd.client.message import Draft
    from workd.client.progress import JobProgress
    from workd.client.reader import ReplyReader
    from workd.client.readers import ReplyReaders
    from workd.client.replies import OnOutcome
    from workd.signing import Signing

T = TypeVar("T")

Arrivals = queue.SimpleQueue[Outcome]


class Core:
    """One connection to one Redis, as far as users are concerned."""

    link: Link
    sender: Sender
    replies: ReplyTable
    reader: ReplyReader | ReplyReaders

    def __init__(self, url: str, deadline_s: float, signing: Signing | None = None) -> None:
        """Check URL and deadline; nothing is connected yet."""
        self._url = url
        self._signing = signing
        self._deadline_s = deadline_s
        self._finalizer: weakref.finalize[..., Core] | None = None
        self._to_tell: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
        begin_with_each_process(self, Core.begin)

    def begin(self) -> None:
        """Make everything from nothing: at first, and in a forked child."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self.link = link_to(self._url, self._deadline_s)
        self.sender = Sender(self.link, self._signing)
        self.replies = ReplyTable()
        self.reader = reader_of(self.link, self.replies)
        self._closed = False
        self._finalizer = weakref.finalize(self, self.reader.abandon)
        self._finalizer.atexit = False

    def close(self) -> None:
        """Stop the reader and close the connections; safe twice. Whoever waits looks for his result from then on."""
        self._closed = True
        self.reader.stop()
        self.link.close()
        owed = list(self._to_tell.items())
        self._to_tell.clear()
        for waiting, tell in owed:
            tell(waiting)

    def tell_when_closed(self, waiting: T, tell: Callable[[T], None]) -> None:
        """Call `tell` with this object once after `close`, if it is still there: it waits for replies by itself."""
        self._to_tell[waiting] = tell

    def enqueue(self, draft: Draft, raw: bytes) -> Handle[Any]:
        """Send one message."""
        mark = self.replies.mark(draft.queue)
        [entry_id] = self.sender.add(draft, (raw,))
        return Handle(self, Job.of(draft, entry_id.decode(), self.replies, mark))

    def enqueue_many(self, draft: Draft, raws: Iterable[bytes]) -> Iterator[list[Handle[Any]]]:
        """Send many messages, and give their handles after each call."""
        for chunk in commands.chunks(raws):
            mark = self.replies.mark(draft.queue)
            entry_ids = self.sender.add(draft, chunk)
            yield [Handle(self, Job.of(draft, entry_id.decode(), self.replies, mark)) for entry_id in entry_ids]

    def cancel(self, job: Job) -> CancelState:
        """Have a job cancelled, wherever it is."""
        return cancelling.cancel(self.link, job)

    def daemons(self) -> list[DaemonInfo]:
        """Say which daemons there are."""
        return daemons.daemons(self.link)

    def progress(self, job: Job) -> JobProgress | None:
        """Say how far a job is."""
        return progress.progress(self.link, job)

    def wait_for(self, job: Job, timeout_s: float | None) -> Outcome:
        """Wait for a job's end. Raises ResultTimeoutError."""
        end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        arrived: Arrivals = queue.SimpleQueue()
        if job.table is self.replies:
            self.reader.watch(job.queue)
        self.replies.expect(job.key, arrived.put)
        try:
            outcome = self._wait(job, arrived, end_s)
        finally:
            self.replies.forget(job.key, arrived.put)
        if outcome is None:
            raise ResultTimeoutError(job.id, timeout_s or 0.0)
        return outcome

    def _wait(self, job: Job, arrived: Arrivals, end_s: float) -> Outcome | None:
        """Wait for a reply, or look for the result again and again where no reply is sure to come."""
        pushed = job.table is self.replies
        look = arrived.empty() and (not pushed or self.is_in_doubt(job))
        pauses = poll_pauses()
        while True:
            outcome = self._look_up(job, end_s) if look else None
            left_s = end_s - time.monotonic()
            look = self.must_look_for(job)
            pause_s = next(pauses) if look else CLOSED_AGAIN_S
            outcome = outcome or self._arrival(job, arrived, min(pause_s, left_s))
            if outcome is not None or left_s <= pause_s:
                return outcome

    def _arrival(self, job: Job, arrived: Arrivals, timeout_s: float) -> Outcome | None:
        try:
            outcome = arrived.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        if is_about_another(outcome, own_id=job.own_id, unique=job.unique):
            self.replies.expect(job.key, arrived.put)
            return None
        return outcome

    def subscribe(self, jobs: Sequence[Job], on_outcomes: Sequence[OnOutcome], end_s: float = math.inf) -> None:
        """Have each callback called once with its job's outcome, from the reader's thread or from here.

        `end_s` is when somebody stops waiting, on the monotonic clock.
        """
        for job, on_outcome in zip(jobs, on_outcomes, strict=True):
            if job.table is self.replies:
                self.reader.watch(job.queue)
            self.replies.expect(job.key, on_outcome)
        self.look_for([job for job in jobs if self.is_in_doubt(job)], end_s)

    def look_for(self, jobs: Iterable[Job], end_s: float = math.inf) -> None:
        """Deliver those of the outcomes that are in `result:<id>`; while Redis is away, none."""
        ids: dict[str, list[str]] = {}
        for job in jobs:
            ids.setdefault(job.queue, []).append(job.id)
        with suppress(ClientError):  # the reader will look for them when it is connected again
            for queue_name, job_ids in ids.items():
                self._look_up_many(queue_name, job_ids, end_s)

    def must_look_for(self, job: Job) -> bool:
        """Say whether the job's outcome may never come as a reply.

        Others enqueued it, it may be a duplicate, or this client was closed and reads no replies any more.
        """
        return self._closed or job.own_id or job.table is not self.replies

    def _look_up_many(self, queue_name: str, job_ids: Sequence[str], end_s: float) -> None:
        for some in commands.id_chunks(job_ids):
            for raw in filter(None, self.link.call(commands.results(queue_name, some), self._look_until(end_s))):
                self.replies.deliver_raw(queue_name, raw)

    def is_in_doubt(self, job: Job) -> bool:
        """Say whether the job's outcome may have come unseen: its stream was not read all the time since."""
        return job.mark == NOT_LIVE or job.mark != self.replies.mark(job.queue)

    def _look_until(self, end_s: float) -> Deadline:
        return Deadline(min(self.link.deadline_s, max(LEAST_LOOK_S, end_s - time.monotonic())))

    def _look_up(self, job: Job, end_s: float) -> Outcome | None:
        """Look into `result:<id>`; None also while Redis is away, since whoever waits will look again."""
        try:
            raw = self.link.call(commands.result(job.queue, job.id), self._look_until(end_s))
        except ClientError:
            return None
        return None if raw is None else decode_outcome(raw)

    def status(self, job: Job) -> JobState:
        """Ask Redis where the job is."""
        return persistently(lambda deadline: self._status(job, deadline), self.link.deadline_s)

    def _status(self, job: Job, deadline: Deadline) -> JobState:
        raw = self.link.call(commands.result(job.queue, job.id), deadline)
        if raw is not None:
            return decode_outcome(raw).status.value
        if not job.has_entry_id or not self.link.call(commands.entry(job.queue, job.id), deadline):
            raw = self.link.call(commands.result(job.queue, job.id), deadline)  # it may have ended between the two
            return "unknown" if raw is None else decode_outcome(raw).status.value
        try:
            return "running" if self.link.call(commands.pending(job.queue, job.id), deadline) else "queued"
        except ServerUnavailableError as error:
            if commands.is_no_group(error):  # no daemon has ever served this queue
                return "queued"
            raise
