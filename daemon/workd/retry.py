"""What becomes of a job after each thing that can happen to it. Pure: no clock, no Redis, no process.

Called by the dispatcher with what the pool or a check reported; answers with a decision that the dispatcher turns into
one settlement. The counters that decide travel with the message: `attempts` are runs that ended by themselves
(return, exception, timeout), `crashes` deaths of a worker under this job, `takeovers` deaths of a daemon that had
fetched it, `handbacks` runs that a drain, or another job of their worker, cut short, `suspicions` deaths of a worker
that ran this job and others, so that nobody knows whose doing it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Self, assert_never

from workd.wire import DeadReason, ErrorInfo

MAX_DELAY_S: Final = 10 * 366 * 86_400.0


class Counters(NamedTuple):
    """How often what has happened to a job; the field `n` of an entry.

    A tuple, as all that is made for each job: a frozen dataclass takes three times as long.
    """

    attempts: int = 0
    crashes: int = 0
    takeovers: int = 0
    handbacks: int = 0
    unknown_since_ms: int = 0  # epoch ms since when no daemon has known its task; 0: known, or not looked at yet
    suspicions: int = 0

    @property
    def runs(self) -> int:
        """How many runs were started, as far as anybody can know."""
        return self.attempts + self.crashes + self.takeovers + self.handbacks + self.suspicions

    @property
    def is_suspect(self) -> bool:
        """Whether it may be a killer: then nothing else runs in its worker, nor waits behind it."""
        return bool(self.crashes or self.takeovers or self.suspicions)

    def encode(self) -> bytes:
        """Return the text of field `n`."""
        text = f"{self.attempts} {self.crashes} {self.takeovers} {self.handbacks}"
        if self.suspicions:
            text += f" {self.unknown_since_ms} {self.suspicions}"
        elif self.unknown_since_ms:
            text += f" {self.unknown_since_ms}"
        return text.encode()

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Read field `n`; what is not four whole numbers or more is a `ValueError`.

        More than six are of a newer daemon: what it counts beside these is not known here.
        """
        numbers = [int(part) for part in text.split()]
        if len(numbers) < 4 or min(numbers) < 0:  # noqa: PLR2004 - those that there always were
            msg = f"not the counters of a job: {text[:80]!r}"
            raise ValueError(msg)
        return cls(*numbers[: len(cls._fields)])


@dataclass(frozen=True, slots=True)
class Policy:
    """How much a job may go through: the message's own limits, else its task's, else the daemon's."""

    max_retries: int = 0
    backoff_s: float = 1.0
    max_backoff_s: float = 300.0
    max_crashes: int = 3
    max_takeovers: int = 10
    unknown_task_s: float = 60.0
    jitter: bool = True  # a wait before a retry is drawn anew from 0 to what it would be


# ── what can happen ─────────────────────────────────────────────────────────────────────────────────────────────────


class Returned(NamedTuple):
    """The task returned; the value as JSON."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Raised:
    """The task raised. `retry` is False where another run can't help; `after_s` is the task's own wish."""

    error: ErrorInfo
    retry: bool = True
    after_s: float | None = None
    reason: DeadReason = DeadReason.FAILED  # or TIMEOUT: what it raised was its soft timeout


@dataclass(frozen=True, slots=True)
class TimeOver:
    """The run took longer than it may and was stopped."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class WorkerCrashed:
    """The worker died under the job."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Suspected:
    """The worker died under the job and others that it ran beside it."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The job was taken over from a dead daemon, once more."""


@dataclass(frozen=True, slots=True)
class TaskUnknown:
    """No task of that name (or no such message version) here, now."""

    error: ErrorInfo
    now_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The job can't succeed, however often: bad input (`ran` is False), a task's own `Reject`, too large a result."""

    reason: DeadReason
    error: ErrorInfo
    ran: bool


@dataclass(frozen=True, slots=True)
class CutShort:
    """The daemon is going, or the job's worker was killed for another one's sake; `started` if a run was lost."""

    started: bool


Event = Returned | Raised | TimeOver | WorkerCrashed | Suspected | TakenOver | TaskUnknown | Refused | CutShort


# ── what to do ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Succeed(NamedTuple):
    """Record the value; done."""

    counters: Counters
    value: bytes


@dataclass(frozen=True, slots=True)
class Die:
    """To the dead letters."""

    counters: Counters
    reason: DeadReason
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Again:
    """Back into the queue, at once (0) or after a delay."""

    counters: Counters
    delay_s: float
    error: ErrorInfo | None = None  # why, where there was an error; for the log, since nothing of it is kept


@dataclass(frozen=True, slots=True)
class GoOn:
    """Run it."""


Decision = Succeed | Die | Again | GoOn


def decide(  # noqa: C901, PLR0911 - one case for each thing that can happen
    counters: Counters, policy: Policy, event: Event, random: float
) -> Decision:
    """Return what becomes of a job; `random` in [0, 1) is the jitter of a backoff."""
    match event:
        case Returned(value):
            return Succeed(Counters(counters.attempts + 1, *counters[1:]), value)  # the others can wait for `_replace`
        case Raised(error, retry, after_s, reason):
            return _after_attempt(counters, policy, reason, error, random, retry=retry, after_s=after_s)
        case TimeOver(error):
            return _after_attempt(counters, policy, DeadReason.TIMEOUT, error, random)
        case WorkerCrashed(error):
            counters = counters._replace(crashes=counters.crashes + 1)
            if counters.crashes >= policy.max_crashes:
                return Die(counters, DeadReason.CRASHED, error)
            return Again(counters, 0.0, error)
        case Suspected():
            # Not charged, and alone from now on: the next such death is certainly its own doing.
            return Again(counters._replace(suspicions=counters.suspicions + 1), 0.0)
        case TakenOver():
            if counters.takeovers > policy.max_takeovers:
                return Die(counters, DeadReason.CRASHED, _too_many_takeovers(counters, policy))
            return GoOn()
        case TaskUnknown(error, now_s):
            return _unknown(counters, policy, error, now_s)
        case Refused(reason, error, ran):
            return Die(counters._replace(attempts=counters.attempts + ran), reason, error)
        case CutShort(started):
            return Again(counters._replace(handbacks=counters.handbacks + started), 0.0)
        case _:
            assert_never(event)


def _bounded_s(delay_s: float) -> float:
    """Keep a task's own wish within what a due time can hold."""
    return min(max(delay_s, 0.0), MAX_DELAY_S)


def backoff_s(policy: Policy, attempts: int, random: float) -> float:
    """Return the wait before the next attempt: exponential, capped, with full jitter unless that is not wanted."""
    # 2.0**63 seconds are beyond every cap, and a larger exponent would overflow.
    whole_s = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(attempts - 1, 63))
    return random * whole_s if policy.jitter else whole_s


def _after_attempt(
    counters: Counters,
    policy: Policy,
    reason: DeadReason,
    error: ErrorInfo,
    random: float,
    *,
    retry: bool = True,
    after_s: float | None = None,
) -> Decision:
    counters = counters._replace(attempts=counters.attempts + 1)
    if not retry or counters.attempts > policy.max_retries:
        return Die(counters, reason, error)
    delay_s = backoff_s(policy, counters.attempts, random) if after_s is None else after_s
    return Again(counters, _bounded_s(delay_s), error)


def _unknown(counters: Counters, policy: Policy, error: ErrorInfo, now_s: float) -> Decision:
    since_ms = counters.unknown_since_ms or int(now_s * 1000)
    left_s = since_ms / 1000 + policy.unknown_task_s - now_s
    if left_s <= 0:
        return Die(counters, DeadReason.UNKNOWN_TASK, error)
    # A dozen looks: new code is found soon after it is there, and the last look comes when the time is over.
    delay_s = min(left_s, max(0.5, policy.unknown_task_s / 12))
    return Again(counters._replace(unknown_since_ms=since_ms), delay_s, error)


def _too_many_takeovers(counters: Counters, policy: Policy) -> ErrorInfo:
    message = (
        f"{counters.takeovers} daemons died or lost their lease with this job in their hands"
        f" (max_takeovers is {policy.max_takeovers}); see what it does to its host before it is replayed"
    )
    return ErrorInfo(type="TooManyTakeovers", message=message)
