"""From what happened to a job to the settlement that records it. Pure but for the clock and the dice passed in.

Called by the dispatcher. Between the two ends stands `retry.decide`, which knows the rules; this module knows how a
frame reads and what a settlement looks like.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from workd import kin, retry
from workd.broker.ops import Bury, Finish, Readd
from workd.pool import frames
from workd.pool.deaths import Crashed, Killed, Lost, OverMemory, Suspected, TimedOut
from workd.pool.parsing import FrameError
from workd.wire import DeadReason, ErrorInfo, Status, describe, encode_error, encode_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.broker.ops import Settlement
    from workd.flights import Flight
    from workd.pool.deaths import WorkerDied
    from workd.pool.parsing import Frame
    from workd.retry import Counters, Decision, Event
    from workd.signing import Signing

_REASONS = {
    frames.INVALID: DeadReason.INVALID,
    frames.REJECTED: DeadReason.REJECTED,
    frames.TOO_LARGE: DeadReason.TOO_LARGE,
}


@dataclass(slots=True)
class Times:
    """When the last run was, as epoch seconds by our own clock; None where there was none.

    One is made for each run: a frozen one, or a tuple with names, takes two to three times as long.
    """

    started_at: float | None = None
    ended_at: float | None = None


class _Wishes(BaseModel):
    """What the payload of a raised exception says beside the error."""

    retry: bool = True
    timed_out: bool = False
    after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def event_of_frame(frame: Frame, now_s: float) -> Event:
    """Return what a worker's frame says happened. Raises `FrameError` when it makes no sense: the worker is broken."""
    if frame.kind == frames.RETURNED:
        return retry.Returned(bytes(frame.payload))
    try:
        return _event_of_failure(frame, ErrorInfo.model_validate_json(frame.payload), now_s)
    except ValidationError as invalid:
        msg = f"a worker sent an outcome that can't be read: {'; '.join(describe(invalid))}"
        raise FrameError(msg) from invalid


def _event_of_failure(frame: Frame, error: ErrorInfo, now_s: float) -> Event:
    if frame.kind == frames.RAISED:
        wishes = _Wishes.model_validate_json(frame.payload)
        reason = DeadReason.TIMEOUT if wishes.timed_out else DeadReason.FAILED
        return retry.Raised(error, retry=wishes.retry, after_s=wishes.after_s, reason=reason)
    if frame.kind == frames.UNKNOWN_TASK:
        return retry.TaskUnknown(error, now_s)
    return retry.Refused(_REASONS[frame.kind], error, ran=frame.kind != frames.INVALID)


def event_of_loss(how: Lost) -> Event:
    """Return what the death of a worker means for the job it was running."""
    match how:
        case Crashed(died):
            message = f"the worker {died.describe()}; {died.advice()} (each such death counts towards max_crashes)"
            return retry.WorkerCrashed(_info_of_death("WorkerDied", message, died))
        case OverMemory(limit_bytes, rss_bytes, died):
            message = (
                f"the run was stopped at {rss_bytes / 2**20:.0f} MiB, over its memory limit of "
                f"{limit_bytes / 2**20:.0f} MiB (each such death counts towards max_crashes)"
            )
            return retry.WorkerCrashed(_info_of_death("MemoryLimit", message, died))
        case TimedOut(timeout_s, died):
            message = f"the run was stopped after its timeout of {timeout_s:g} s; raise `timeout` if it needs more"
            return retry.TimeOver(_info_of_death("JobTimeout", message, died))
        case Suspected():
            return retry.Suspected()
        case Killed():
            return retry.CutShort(started=True)


def _info_of_death(kind: str, message: str, died: WorkerDied) -> ErrorInfo:
    return ErrorInfo(type=kind, message=message, traceback=died.stacks or None)


class Clerk:
    """Writes settlements in the name of one daemon."""

    def __init__(
        self,
        daemon_id: str,
        *,
        wall: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
        max_message_bytes: int = 1024 * 1024,
        signing: Signing | None = None,
    ) -> None:
        """`wall` gives epoch seconds, `dice` a number in [0, 1) for the jitter; `signing` signs next steps."""
        self._max_message_bytes = max_message_bytes
        self._signing = signing
        self.daemon_id = daemon_id
        self.wall = wall
        self._dice = dice

    def sign_with(self, signing: Signing | None) -> None:
        """Sign next steps with other keys from now on."""
        self._signing = signing

    def decide(self, flight: Flight, event: Event) -> Decision:
        """Apply the rules to what happened."""
        policy = flight.policy or retry.Policy()
        decision = retry.decide(flight.entry.counters, policy, event, self._dice())
        if not flight.kin_ids:
            return decision
        return kin.go_on(flight, decision, self.wall(), self._max_message_bytes, self._signing)

    def write(self, flight: Flight, decision: Decision, times: Times) -> Settlement:
        """Return the settlement of a decision."""
        match decision:
            case retry.Succeed(counters, value):
                return self._finish(flight, Status.SUCCEEDED, counters, times, value_json=value)
            case retry.Die(counters, reason, error):
                return self._bury(flight, counters, reason, error, times)
            case retry.Again(counters=counters, delay_s=delay_s):
                due_ms = int((self.wall() + delay_s) * 1000) if delay_s > 0 else None
                return self.readd(flight, counters, due_ms)
            case retry.GoOn():
                msg = "a job that goes on has nothing to settle"
                raise ValueError(msg)

    def cancelled(
        self, flight: Flight, message: str, *, run: Times | None = None, is_attempt: bool = False
    ) -> Settlement:
        """End a job that was cancelled; `run`: the run that was cut short for it, or (an attempt) ended by itself."""
        error = encode_error(ErrorInfo(type="cancelled", message=message))
        counters, flight.status = flight.entry.counters, Status.CANCELLED
        if run is not None and is_attempt:
            counters = counters._replace(attempts=counters.attempts + (run.started_at is not None))
        elif run is not None:
            counters = counters._replace(handbacks=counters.handbacks + 1)
        return self._finish(flight, Status.CANCELLED, counters, run or Times(), error_json=error)

    def duplicate(self, flight: Flight) -> Settlement:
        """End a job whose `id` or `unique` key another one holds, and leave that one's traces alone."""
        text = "another job with this `id` or `unique` key is queued, running or has just ended"
        error = encode_error(ErrorInfo(type="duplicate", message=text))
        counters, flight.status = flight.entry.counters, Status.CANCELLED
        return self._finish(flight, Status.CANCELLED, counters, Times(), error_json=error, duplicate=True)

    def broken(self, flight: Flight, error: Exception) -> Settlement:
        """Bury a job that this daemon cannot handle, so that it harms no other; the log has the traceback."""
        text = f"workd could not handle this job ({type(error).__name__}: {error}): please report it with the log"
        info = ErrorInfo(type="InternalError", message=text)
        return self._bury(flight, flight.entry.counters, DeadReason.FAILED, info, Times())

    def expired(self, flight: Flight, why: ErrorInfo | None = None) -> Settlement:
        """End a job that has not started in time: by its `expires_at`, or as `why` says."""
        message = "it had not started by its `expires_at`; add workers, or give it more time"
        error = encode_error(why or ErrorInfo(type="Expired", message=message))
        flight.status = Status.EXPIRED
        return self._finish(flight, Status.EXPIRED, flight.entry.counters, Times(), error_json=error)

    def readd(self, flight: Flight, counters: Counters, due_ms: int | None) -> Settlement:
        """Put a job back into the queue, or among the scheduled ones."""
        entry, envelope = flight.entry, flight.envelope
        return Readd(
            entry_id=entry.entry_id,
            job_id=flight.job_id,
            message=entry.message or b"",
            counters=counters,
            enqueued_ms=entry.enqueued_ms,
            signature=entry.signature,
            has_producer_id=envelope is not None and envelope.id is not None,
            unique=envelope.unique if envelope is not None else None,
            due_ms=due_ms,
        )

    def _finish(
        self,
        flight: Flight,
        status: Status,
        counters: Counters,
        times: Times,
        *,
        value_json: bytes | None = None,
        error_json: bytes | None = None,
        duplicate: bool = False,
    ) -> Finish:
        envelope = flight.envelope
        if flight.kin_ids:
            error_json = kin.named(flight, error_json)
        outcome = self._outcome(flight, status, counters, times, value_json, error_json)
        entry_id, job_id, ttl_s = flight.entry.entry_id, flight.job_id, flight.result_ttl_s
        if envelope is None:
            return Finish(entry_id, job_id, outcome, ttl_s)
        has_id = envelope.id is not None
        item = Finish(entry_id, job_id, outcome, ttl_s, envelope.reply_to, has_id, envelope.unique, duplicate)
        return kin.finished(flight, item, status, value_json, error_json) if flight.kin_ids else item

    def _bury(self, flight: Flight, counters: Counters, reason: DeadReason, error: ErrorInfo, times: Times) -> Bury:
        envelope, entry = flight.envelope, flight.entry
        error_json = encode_error(error)
        if flight.kin_ids:
            error_json = kin.named(flight, error_json) or error_json
        item = Bury(
            entry_id=entry.entry_id,
            job_id=flight.job_id,
            outcome=self._outcome(flight, Status.DEAD, counters, times, None, error_json),
            result_ttl_s=flight.result_ttl_s,
            reply_to=envelope.reply_to if envelope is not None else None,
            has_producer_id=envelope is not None and envelope.id is not None,
            unique=envelope.unique if envelope is not None else None,
            message=entry.message or b"",
            entry_fields=entry.fields_json() if entry.message is None else None,
            reason=reason.value,
            error=error_json,
            task=flight.task,
            attempts=counters.attempts,
            deliveries=counters.runs,
            signature=entry.signature,
        )
        return kin.buried(flight, item) if flight.kin_ids else item

    def _outcome(
        self,
        flight: Flight,
        status: Status,
        counters: Counters,
        times: Times,
        value_json: bytes | None,
        error_json: bytes | None,
    ) -> bytes | None:
        """Return the outcome as bytes, or None when nobody asked for it: most jobs."""
        envelope = flight.envelope
        if flight.result_ttl_s <= 0 and (envelope is None or envelope.reply_to is None):
            return None
        ended_at = times.ended_at if times.ended_at is not None else self.wall()
        return encode_outcome(
            kin.outcome_id_of(flight) if flight.kin_ids else flight.job_id,
            flight.task,
            status,
            value_json,
            error_json,
            counters.attempts,
            counters.runs,
            flight.entry.enqueued_ms / 1000,
            times.started_at,
            ended_at,
            self.daemon_id,
        )
