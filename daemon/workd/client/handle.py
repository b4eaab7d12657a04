"""One job, seen from its producer.

Owned here: what a producer knows of a job it has enqueued, and the ways to ask for its end. Made by `Client`
and `AsyncClient`, never by people. The waiting itself is done by the client's core, which a handle keeps
alive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from workd.client.outcomes import value_of
from workd.errors import ResultGoneError, ResultTimeoutError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from workd.client.async_core import AsyncCore
    from workd.client.core import Core
    from workd.client.message import Draft
    from workd.client.outcomes import CancelState, JobState
    from workd.client.progress import JobProgress
    from workd.client.replies import JobKey, ReplyTable
    from workd.wire import Outcome

R_co = TypeVar("R_co", covariant=True)

_ENTRY_ID = re.compile(r"\d+-\d+")


class Job(NamedTuple):
    """What a producer knows of a job.

    `table` is where its replies come in (None: they go to nobody here), `mark` the table's mark before the
    enqueue, `entry_id` what Redis called its message.
    """

    queue: str
    id: str
    task: str
    adapter: TypeAdapter[Any] | None = None
    table: ReplyTable | None = None
    mark: int = 0
    own_id: bool = False
    unique: bool = False
    kept: bool = True
    entry_id: str = ""

    @classmethod
    def of(cls, draft: Draft, entry_id: str, table: ReplyTable, mark: int) -> Job:
        """Make the job that a message made from `draft` became."""
        target, own_id, kept = draft.target, draft.own_id, draft.kept
        return cls(  # in the order of the fields, which is twice as quick as by name, and made for each job
            draft.queue,
            own_id or entry_id,
            target.name,
            target.adapter,
            table if kept else None,
            mark,
            own_id is not None,
            draft.unique,
            kept,
            entry_id,
        )

    @classmethod
    def elsewhere(cls, queue: str, job_id: str) -> Job:
        """Make a job that somebody else may have enqueued: all that is known is its id."""
        return cls(queue=queue, id=job_id, task="?")

    @property
    def key(self) -> JobKey:
        """Name the job among all queues' jobs."""
        return self.queue, self.id

    @property
    def has_entry_id(self) -> bool:
        """Say whether the id can be that of a stream entry."""
        return _ENTRY_ID.fullmatch(self.id) is not None

    def require_kept(self) -> None:
        """Refuse to wait for an outcome that nobody keeps."""
        if not self.kept:
            raise ResultGoneError(self.id, "it was enqueued with result_ttl=0, which keeps none")


class _Known:
    """What both kinds of handle show without asking anybody."""

    __slots__ = ("_job", "_outcome")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._outcome: Outcome | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job.id

    @property
    def queue(self) -> str:
        """The queue it was put on."""
        return self._job.queue

    @property
    def known_outcome(self) -> Outcome | None:
        """The outcome, once somebody has waited for it; asks nobody."""
        return self._outcome

    @property
    def job(self) -> Job:
        """All that is known of the job here."""
        return self._job

    def note(self, outcome: Outcome) -> None:
        """Take the job's outcome from who has waited for it; for this package's use."""
        self._outcome = outcome

    def __repr__(self) -> str:
        """Show task, id and queue."""
        ended = "" if self._outcome is None else f" {self._outcome.status}"
        return f"<{type(self).__name__} {self._job.task} {self._job.id} on {self._job.queue!r}{ended}>"


class Handle(_Known, Generic[R_co]):
    """A job that `Client` enqueued. Safe for threads; after a fork it works in the child too."""

    __slots__ = ("_core",)

    def __init__(self, core: Core, job: Job) -> None:
        """Belong to a client's core."""
        super().__init__(job)
        self._core = core

    @property
    def core(self) -> Core:
        """The core of the client it belongs to; for this package's use."""
        return self._core

    def get(self, timeout: float | None = None) -> R_co:
        """Wait for the job's end, at most `timeout` seconds, and return what the task returned.

        Raises ResultTimeoutError (not ended yet), JobFailedError, JobCancelledError, JobExpiredError (it
        ended otherwise), ResultGoneError (no result was to be kept), InvalidResultError (the value is not
        what the function here says it returns). While Redis is away this waits on.
        """
        return cast("R_co", value_of(self.outcome(timeout), self._job.adapter))

    def outcome(self, timeout: float | None = None) -> Outcome:
        """Wait for the job's end, at most `timeout` seconds, and return all that is known of it."""
        if self._outcome is None:
            self._job.require_kept()
            self._outcome = self._core.wait_for(self._job, timeout)
        return self._outcome

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the job's end, at most `timeout` seconds; say whether it has come."""
        try:
            self.outcome(timeout)
        except ResultTimeoutError:
            return False
        return True

    def status(self) -> JobState:
        """Say where the job is.

        One of succeeded, dead, cancelled, expired; running (a daemon has it), queued; or unknown: put back
        for a retry or for its time, or ended and no longer kept. Raises ServerUnavailableError,
        EnqueueTimeoutError.
        """
        return self._core.status(self._job) if self._outcome is None else self._outcome.status.value

    def progress(self) -> JobProgress | None:
        """Return what the job has said of how far it is, as of about a second ago; None if it says nothing.

        The last word of a run can be read for a while after its end. Raises as `status`.
        """
        return self._core.progress(self._job)

    def cancel(self) -> CancelState:
        """Stop this job wherever it is, and say what that came to.

        cancelled: it had not started, never will, and its outcome is recorded. asked: a daemon has it, and its outcome
        will be `cancelled`; a task that runs sees `context().should_stop()` and is killed after the daemon's
        `cancel_grace_s`. ended: it had ended before. unknown: no trace of it is left, or there is none yet. Safe to
        repeat. Raises ServerUnavailableError, EnqueueTimeoutError.
        """
        return self._core.cancel(self._job) if self._outcome is None else "ended"


class AsyncHandle(_Known, Generic[R_co]):
    """A job that `AsyncClient` enqueued, in that client's event loop: `Handle`, awaited."""

    __slots__ = ("_core",)

    def __init__(self, core: AsyncCore, job: Job) -> None:
        """Belong to a client's core."""
        super().__init__(job)
        self._core = core

    @property
    def core(self) -> AsyncCore:
        """The core of the client it belongs to; for this package's use."""
        return self._core

    async def get(self, timeout: float | None = None) -> R_co:
        """Wait for the job's end and return what the task returned; see `Handle.get`."""
        return cast("R_co", value_of(await self.outcome(timeout), self._job.adapter))

    async def outcome(self, timeout: float | None = None) -> Outcome:
        """Wait for the job's end, at most `timeout` seconds, and return all that is known of it."""
        if self._outcome is None:
            self._job.require_kept()
            self._outcome = await self._core.wait_for(self._job, timeout)
        return self._outcome

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the job's end, at most `timeout` seconds; say whether it has come."""
        try:
            await self.outcome(timeout)
        except ResultTimeoutError:
            return False
        return True

    async def status(self) -> JobState:
        """Say where the job is; see `Handle.status`."""
        return await self._core.status(self._job) if self._outcome is None else self._outcome.status.value

    async def progress(self) -> JobProgress | None:
        """Return what the job has said of how far it is; see `Handle.progress`."""
        return await self._core.progress(self._job)

    async def cancel(self) -> CancelState:
        """Stop this job wherever it is, and say what that came to; see `Handle.cancel`."""
        return await self._core.cancel(self._job) if self._outcome is None else "ended"
