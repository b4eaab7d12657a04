"""Every exception that workd raises on purpose, under one base.

    WorkdError
    ├── SettingsError                 a setting is wrong; names it and where its value came from
    ├── MessageError                  bytes on the wire that are not a message we can take
    │   ├── InvalidMessageError       does not parse or validate; never retried
    │   └── UnknownVersionError       a newer producer; delayed, not condemned
    ├── BrokerError                   what the Redis side of the daemon can meet
    │   ├── BrokerUnavailableError    no answer, or none that can be used now; try again
    │   ├── WrongKeyTypeError         somebody else's key is in our place; never overwritten
    │   └── FencedError               our lease is gone: whatever we do for that queue is void
    ├── PoolError                     what the processes can do to us
    │   ├── BootError                 a task module does not import, or workers do not come up
    │   ├── PoolClosedError           work was given to a pool that takes no more
    │   ├── WorkerDiedError           the process that ran this job is gone
    │   ├── JobTimeoutError           the job ran longer than it may (also a TimeoutError)
    │   ├── MemoryLimitError          the job used more memory than it may
    │   └── CallCancelledError        the call was cancelled by the program that had made it
    └── ClientError                   what a producer can meet; each call documents its own
        ├── EnqueueTimeoutError       no answer within the deadline (also a TimeoutError)
        ├── GroupEndedError           a group had ended before all its members were enqueued
        ├── ServerUnavailableError    Redis refused, or the connection broke (also a ConnectionError)
        ├── NotDurableError           it was not confirmed, or cannot be, that a job outlasts a crash of the server
        ├── ResultTimeoutError        the job has not ended yet (also a TimeoutError)
        ├── ResultGoneError           the outcome was not kept, or no longer
        ├── JobFailedError            the job ended dead; carries its outcome
        ├── JobCancelledError         the job was cancelled, or was a duplicate; carries its outcome
        ├── JobExpiredError           the job had not started by `expires_at`; carries its outcome
        ├── InvalidJobError           what was given to enqueue cannot become a message; nothing was sent
        ├── DeadLetterError           this dead letter cannot be replayed, or is not there (any more)
        └── InvalidResultError        the value does not fit the return annotation that the task has here

Task authors have their own small tree in `workd_tasks.errors`, since tasks know nothing of the daemon.

Everybody raises and catches these; this module imports nothing of workd. A message says what happened, to
which job or setting, and what to do about it. All of them survive pickling, whatever their constructors take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.pool.deaths import WorkerDied
    from workd.wire import Outcome


class WorkdError(Exception):
    """The base of all errors that workd raises on purpose."""

    def __reduce__(self) -> tuple[Callable[..., WorkdError], tuple[object, ...]]:
        """Pickle by state: `Exception` would call the constructor again with the finished message."""
        return _unpickle, (type(self), self.args, dict(self.__dict__))


def _unpickle(cls: type[WorkdError], args: tuple[object, ...], state: dict[str, object]) -> WorkdError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


# ── settings ──


class SettingsError(WorkdError):
    """A setting that cannot be used: `setting` is its name as people write it."""

    def __init__(self, setting: str, message: str) -> None:
        self.setting = setting
        self.message = message
        super().__init__(f"{setting}: {message}")


# ── messages ──


class MessageError(WorkdError):
    """Bytes on the wire that are not a message we can take."""


class InvalidMessageError(MessageError):
    """A message that does not parse or validate; `details` has one `path: what is wrong` per error."""

    def __init__(self, details: Sequence[str]) -> None:
        self.details = tuple(details)
        super().__init__("invalid message: " + "; ".join(self.details))


class UnknownVersionError(MessageError):
    """A message of a wire version that this code does not speak."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"message version {version} is unknown here, only 1 is known: is a newer workd rolling out?")


# ── broker ──


class BrokerError(WorkdError):
    """Redis answered something that the daemon did not ask for."""


class BrokerUnavailableError(BrokerError):
    """Redis cannot be reached or cannot serve now; the message names the URL without its password."""


class WrongKeyTypeError(BrokerError):
    """A key of ours holds another type. It is never overwritten: a person has to look."""

    def __init__(self, key: str, expected: str = "") -> None:
        self.key = key
        self.expected = expected
        wanted = f"is not a {expected}" if expected else "has the wrong type"
        super().__init__(f"key {key!r} {wanted}: somebody else wrote it; move or delete it, workd will not")


class FencedError(BrokerError):
    """Our lease was taken over: the jobs of `queue` are another daemon's now."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        super().__init__(f"queue {queue}: this daemon's lease is gone, another one has taken its jobs over")


# ── pool ──


class PoolError(WorkdError):
    """What can go wrong between the supervisor and its processes."""


class BootError(PoolError):
    """A process could not be made ready: `cause` why, in one line; `module` what it imported, empty for a worker."""

    def __init__(self, module: str, cause: str, traceback: str = "") -> None:
        self.module = module
        self.cause = cause
        self.traceback = traceback
        super().__init__(f"{module}: {cause}" if module else cause)


class PoolClosedError(PoolError):
    """The pool takes no more work: it was closed, terminated or is draining."""


class WorkerDiedError(PoolError):
    """The worker died under this job; `died` has all that is known: pid, slot, exit code, signal, peak memory, OOM."""

    def __init__(self, job_id: str, died: WorkerDied) -> None:
        self.job_id = job_id
        self.died = died
        super().__init__(f"{job_id}: the worker {died.describe()}; {died.advice()}{_stacks(died)}")


class JobTimeoutError(PoolError, TimeoutError):
    """The job ran longer than `timeout_s` and was stopped; `stacks` is where it was, if its worker could still tell."""

    def __init__(self, job_id: str, timeout_s: float, died: WorkerDied | None = None) -> None:
        self.job_id = job_id
        self.timeout_s = timeout_s
        self.stacks = "" if died is None else died.stacks
        where = "" if died is None else _stacks(died)
        super().__init__(
            f"{job_id}: stopped after its timeout of {timeout_s:g} s; set a longer one if it needs it{where}"
        )


class MemoryLimitError(PoolError):
    """The job used more memory than its limit, in bytes, and was stopped."""

    def __init__(self, job_id: str, limit_bytes: int, rss_bytes: int, died: WorkerDied | None = None) -> None:
        self.job_id = job_id
        self.limit_bytes = limit_bytes
        self.rss_bytes = rss_bytes
        self.stacks = "" if died is None else died.stacks
        where = "" if died is None else _stacks(died)
        super().__init__(
            f"{job_id}: stopped at {rss_bytes / 2**20:.0f} MiB, over its memory limit of "
            f"{limit_bytes / 2**20:.0f} MiB; set a higher one if it needs it, or have it work in smaller pieces{where}"
        )


class CallCancelledError(PoolError):
    """The call was cancelled by the program that had made it."""


def _stacks(died: WorkerDied) -> str:
    return f"\nIt was here:\n{died.stacks}" if died.stacks else ""


# ── client ──


class ClientError(WorkdError):
    """What a producer can meet. `in_doubt`: a command was sent, and only Redis knows whether it was run."""

    in_doubt = False


class EnqueueTimeoutError(ClientError, TimeoutError):
    """No answer within the deadline: whether the message arrived is not known (`in_doubt` is always true)."""

    in_doubt = True


class ServerUnavailableError(ClientError, ConnectionError):
    """Redis refused the call or the connection broke; the message says whether the command had been sent.

    `in_doubt`: it had been, and no answer came. False: nothing was changed.
    """


class NotDurableError(ClientError):
    """`durable=True`, and no word that the jobs would outlast a crash of the server.

    `job_ids` are those that are queued all the same; empty: the server can give no such word, and nothing was sent.
    """

    def __init__(self, why: str, job_ids: Sequence[str] = ()) -> None:
        self.why = why
        self.job_ids = tuple(job_ids)
        what = ", ".join(self.job_ids[:3]) + (", …" if len(self.job_ids) > 3 else "")  # noqa: PLR2004 (for a line)
        queued = f"queued all the same, do not send again: {what}" if self.job_ids else "nothing was queued"
        super().__init__(f"not durable: {why}; {queued}")


class ResultTimeoutError(ClientError, TimeoutError):
    """The job had not ended within `timeout_s`; it goes on, and the same handle may wait again."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        self.job_id = job_id
        self.timeout_s = timeout_s
        super().__init__(f"job {job_id}: no result within {timeout_s:g} s; it may still run")


class ResultGoneError(ClientError):
    """There is no outcome to be had: none was asked for, or its `result_ttl` has passed."""

    def __init__(self, job_id: str, hint: str = "it was not kept (result_ttl) or has expired") -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id}: no result to be had: {hint}")


class JobFailedError(ClientError):
    """The job is dead; `outcome.error` has type, message and traceback of what happened in the worker."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(_ended(outcome, "failed"))


class JobCancelledError(ClientError):
    """The job was cancelled before it ended, or another job held its `id` or `unique`."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(_ended(outcome, "was cancelled"))


class JobExpiredError(ClientError):
    """The job had not been started by its `expires_at`."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(_ended(outcome, "expired before it was started"))


class GroupEndedError(ClientError):
    """Not all members of the group had been enqueued when its deadline was over, and it ended without the others."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        super().__init__(
            f"group {group_id} has ended before all its members were enqueued: give it a later deadline_s,"
            " or look for what held up this program"
        )


class InvalidJobError(ClientError, ValueError):
    """What was given to enqueue cannot become a message: nothing was sent. Names task and option."""


class DeadLetterError(ClientError):
    """The dead letter `entry_id` of `queue` is not there, or cannot be replayed; nothing was done."""

    def __init__(self, queue: str, entry_id: str, why: str) -> None:
        self.queue = queue
        self.entry_id = entry_id
        super().__init__(f"dead letter {entry_id} of queue {queue}: {why}")


class InvalidResultError(ClientError, ValueError):
    """The job succeeded, and its value does not fit the return annotation of the task as it is known here."""

    def __init__(self, outcome: Outcome, details: str) -> None:
        self.outcome = outcome
        super().__init__(
            f"job {outcome.id} ({outcome.task}) succeeded, but its value does not fit this program's return "
            f"annotation: {details}; is the daemon's code another version? (enqueue by name: plain value)"
        )


def _ended(outcome: Outcome, how: str) -> str:
    error = outcome.error
    why = "" if error is None else f": {error.type}: {error.message}"
    return f"job {outcome.id} ({outcome.task}) {how}{why}"
