"""A group of jobs, seen from its producer.

Made by `Client.enqueue_group` and `AsyncClient.enqueue_group`, never by people. That all have ended is an outcome under
the group's own id, so waiting for a group is waiting for a job.
"""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from workd.client import group_calls
from workd.client.group_calls import GroupProgress
from workd.client.handle import Handle, Job
from workd.errors import ClientError, ResultGoneError, ResultTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workd.client.core import Core
    from workd.client.group_messages import Envelopes
    from workd.client.replies import ReplyTable
    from workd.wire import Outcome


class GroupSummary(NamedTuple):
    """How a group ended: what its callback gets as its first argument, too, as an object with these fields."""

    id: str
    total: int
    succeeded: int
    failed: int
    """Members that are dead, or were cancelled, or expired."""
    unfinished: int
    """Members that had not ended by the deadline."""
    sealed: bool
    """False: the producer had not enqueued them all by the deadline."""
    outcomes: list[Any] | None = None
    """With `results=True`, by member: an object with `id`, `status`, `value` and `error`, or None if it had not ended.
    One for which there was no room has `omitted` in place of the last two."""

    @property
    def all_succeeded(self) -> bool:
        """Whether nothing is missing: each member was enqueued, ended, and succeeded."""
        return self.sealed and self.succeeded == self.total


def summary_of(value: Any) -> GroupSummary:
    """Read the value of a group's outcome; what later versions add is left out."""
    return GroupSummary(**{name: value[name] for name in GroupSummary._fields if name in value})


def job_of(envelopes: Envelopes, table: ReplyTable, mark: int) -> Job:
    """Return what stands for a group among the jobs: its end is told as that of a job."""
    return Job(
        envelopes.queue, envelopes.id, "group", table=table if envelopes.kept else None, mark=mark, kept=envelopes.kept
    )


def of_summary(summary: GroupSummary) -> GroupProgress:
    """Return the progress of a group that has ended, and whose record is gone."""
    done = summary.succeeded + summary.failed
    return GroupProgress(done, summary.total, summary.succeeded, summary.failed, summary.sealed, ended=True)


class GroupHandle:
    """A group that `Client` enqueued. Safe for threads."""

    def __init__(self, core: Core, job: Job, members: Sequence[Handle[Any]], callback: Handle[Any] | None) -> None:
        """Belong to a client's core; `job` stands for the group."""
        self._core = core
        self._whole: Handle[Any] = Handle(core, job)
        self.members = list(members)
        """The members' handles, in order; none for a group that somebody else enqueued."""
        self.callback = callback
        """The handle of the callback, if it has one: `callback.get()` waits for what it returns."""

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
        return f"<GroupHandle {self.id} on {self.queue!r}, {len(self.members)} members>"

    def progress(self) -> GroupProgress:
        """Ask how far it is. Raises ResultGoneError if nothing is kept of it any more, and as all calls."""
        answer = self._core.link.call(group_calls.progress(self.queue, self.id))
        found = group_calls.read_progress(answer)
        if found is not None:
            return found
        if self._whole.status() != "succeeded":
            raise ResultGoneError(self.id, "nothing is kept of this group (any more)")
        return of_summary(self.summary(0))

    def summary(self, timeout: float | None = None) -> GroupSummary:
        """Wait until it has ended, at most `timeout` seconds, and return how. Raises ResultTimeoutError."""
        return summary_of(self._whole.get(timeout))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all members have ended, or the deadline is over; say whether that is so within `timeout`."""
        return self._whole.wait(timeout)

    def results(self, timeout: float | None = None) -> list[Any]:
        """Wait for the members, at most `timeout` seconds, and return their values in order.

        Raises what the first one raises that did not succeed, as its handle's `get`.
        """
        end_s = None if timeout is None else time.monotonic() + timeout
        return [member.get(None if end_s is None else max(0.0, end_s - time.monotonic())) for member in self.members]

    def __iter__(self) -> Iterator[Handle[Any]]:
        """Give the members' handles as they end; see `as_ended`."""
        return self.as_ended()

    def as_ended(self, timeout: float | None = None) -> Iterator[Handle[Any]]:
        """Give the members' handles as they end. Raises ResultTimeoutError after `timeout` seconds in all."""
        end_s = None if timeout is None else time.monotonic() + timeout
        for member in self.members:
            member.job.require_kept()
        arrived: queue.SimpleQueue[tuple[Handle[Any], Outcome]] = queue.SimpleQueue()

        def noted(member: Handle[Any]) -> Callable[[Outcome], None]:
            return lambda outcome: arrived.put((member, outcome))

        self._core.subscribe([member.job for member in self.members], [noted(member) for member in self.members])
        for _ in self.members:
            try:
                member, outcome = arrived.get(timeout=None if end_s is None else max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                raise ResultTimeoutError(self.id, timeout or 0.0) from None
            member.note(outcome)
            yield member

    def cancel(self) -> None:
        """Cancel every member that has not ended; the group ends with the last of them, and its callback runs."""
        self._core.link.call(group_calls.cancel(self.queue, self.id))
        with suppress(ClientError):  # not allowed, maybe; then it takes until their next renewal
            self._core.link.call(group_calls.hurry_cancel(self.queue, self.id))
            self._hurry_scheduled()

    def _hurry_scheduled(self) -> None:
        """Have those be due that wait for their time, or for another attempt; at most as long as a call may take."""
        cursor, end_s = b"0", time.monotonic() + self._core.link.deadline_s
        while time.monotonic() < end_s:
            cursor, found = self._core.link.call(group_calls.look_for_scheduled(self.queue, self.id, cursor))
            if found:
                self._core.link.call(group_calls.make_due(self.queue, found))
            if cursor == b"0":
                return
