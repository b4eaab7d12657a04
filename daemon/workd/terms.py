"""Under which terms a task's jobs run: its own options, else the daemon's, prepared once. Pure.

Made by the intake for each task of the catalogue. What most jobs need is in `Terms`; the rest is in `Extras`, which a
task that uses none of it does not have, so that its jobs pay for none of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from workd import retry, wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workd.flights import Flight
    from workd.intake import Limits
    from workd.pool.slot import Job
    from workd.wire import Envelope

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Extras:
    """What few tasks ask for."""

    soft_timeout_s: float | None = None
    memory_limit_bytes: int | None = None
    expires_s: float | None = None
    start_by_s: float | None = None
    unique: bool = False
    parameters: tuple[str, ...] = ()
    """Of a unique task: those that may be given by position or by name, in order."""

    def with_wishes_of(self, envelope: Envelope) -> Extras:
        """Return what holds for a message that says itself when it is to be told to stop, or to have started."""
        return replace(
            self,
            soft_timeout_s=envelope.soft_timeout or self.soft_timeout_s,
            start_by_s=envelope.start_by or self.start_by_s,
        )

    def impose(self, job: Job) -> None:
        """Give a job of the pool its limits. A soft timeout that would come after the hard one never comes."""
        job.memory_limit_bytes = self.memory_limit_bytes
        if self.soft_timeout_s is not None and (job.timeout_s is None or self.soft_timeout_s < job.timeout_s):
            job.soft_timeout_s = self.soft_timeout_s

    def lateness(self, flight: Flight, now_s: float) -> wire.ErrorInfo | None:
        """Say why it is too late for a job to start; None if it is not. Both spans count from when it was due."""
        envelope, entry = flight.envelope, flight.entry
        if envelope is None:
            return None
        waited_s = now_s - max(entry.enqueued_ms / 1000, envelope.run_at or 0.0)
        if self.expires_s is not None and envelope.expires_at is None and waited_s >= self.expires_s:
            text = f"it had waited for {waited_s:.1f} s, the task's `expires` is {self.expires_s:g}"
            return wire.ErrorInfo(type="Expired", message=f"{text}; add workers, or give it more time")
        if self.start_by_s is not None and not entry.counters.runs and waited_s >= self.start_by_s:
            text = f"its first run had not started after {waited_s:.1f} s, its `start_by` is {self.start_by_s:g}"
            return wire.ErrorInfo(type="NotStartedInTime", message=f"{text}; add workers, or give it more time")
        return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the jobs of one task."""

    policy: retry.Policy
    timeout_s: float
    result_ttl_s: float
    extras: Extras | None

    @classmethod
    def of(cls, options: Mapping[str, Any], limits: Limits) -> Terms:
        """Read the options of one task, as the catalogue has them; what it does not say is the daemon's."""
        extras = Extras(
            soft_timeout_s=options.get("soft_timeout"),
            memory_limit_bytes=options.get("memory_limit"),
            expires_s=options.get("expires"),
            start_by_s=options.get("start_by"),
            unique=options.get("unique", False),
            parameters=tuple(options.get("parameters", ())),
        )
        policy = retry.Policy(
            max_retries=options.get("max_retries", 0),
            backoff_s=options.get("backoff_s", 1.0),
            max_backoff_s=options.get("max_backoff_s", 300.0),
            jitter=options.get("jitter", True),
            max_crashes=options.get("max_crashes") or limits.max_crashes,
            max_takeovers=limits.max_takeovers,
            unknown_task_s=limits.unknown_task_s,
        )
        return cls(
            policy,
            options.get("timeout") or limits.timeout_s,
            options.get("result_ttl") or 0.0,
            None if replace(extras, parameters=()) == Extras() else extras,
        )


def without_room(catalogue: Mapping[str, Mapping[str, Any]], daemon_limit_bytes: int, worker_bytes: int) -> list[str]:
    """Return the tasks whose memory limit is less than a worker has before its first job; 0 is no limit."""

    def is_tight(options: Mapping[str, Any]) -> bool:
        limits = [limit for limit in (options.get("memory_limit"), daemon_limit_bytes) if limit]
        return bool(limits) and min(limits) <= worker_bytes

    return sorted(name for name, options in catalogue.items() if is_tight(options))


def too_late(catalogue: Mapping[str, Mapping[str, Any]], daemon_timeout_s: float) -> list[str]:
    """Return the tasks whose soft timeout never comes, since the daemon's timeout ends each of their runs before."""

    def is_late(options: Mapping[str, Any]) -> bool:
        soft_s = options.get("soft_timeout")
        return soft_s is not None and soft_s >= (options.get("timeout") or daemon_timeout_s)

    return sorted(name for name, options in catalogue.items() if is_late(options))


def with_unique_key(envelope: Envelope, parameters: Sequence[str]) -> Envelope:
    """Return the message with the key of its arguments: equal JSON has equal keys, by position or by name alike."""
    args = envelope.args
    named = dict(zip(parameters, args, strict=False)) | envelope.kwargs
    text = json.dumps([args[len(parameters) :], named], sort_keys=True)
    digest = blake2b(text.encode(), digest_size=_KEY_BYTES).hexdigest()
    return envelope.model_copy(update={"unique": f"{envelope.task}:{digest}"})
