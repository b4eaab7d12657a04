"""How a queue is, as data, and how that is read from what the script answers. Pure; for the daemon and for clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workd.broker import keys, queues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.queues import Paused


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue at one moment. A count is None where somebody else's key is in its place."""

    name: str
    queued: int | None
    """In the stream, and no daemon has fetched it yet."""
    waiting: int | None
    """Fetched, and waiting for a rate or concurrency limit of its task."""
    running: int | None
    """In the hands of a daemon: running, or next."""
    scheduled: int | None
    """For later: `run_at`, retries."""
    dead: int | None
    inbox: int | None
    """Pushed by RPUSH, and not moved into the stream yet."""
    daemons: int | None
    """That serve it, by their leases."""
    dead_trimmed: int
    """Dead letters that were ever trimmed by age or size."""
    oldest_s: float | None
    """How long the first job that has not started has been in the stream."""
    due_in_s: float | None
    """When the first scheduled job is due; below zero: it should have been moved by now."""
    paused: Paused | None
    """Who paused it, why and until when; None: it is not paused."""


def read(name: str, answer: Sequence[Any]) -> QueueState:
    """Read what `queue_state.lua` answered."""
    queued, waiting, running, scheduled, dead, inbox, daemons, trimmed, now_ms, oldest, due, paused = answer
    return QueueState(
        name=name,
        queued=queued,
        waiting=waiting,
        running=running,
        scheduled=scheduled,
        dead=dead,
        inbox=inbox,
        daemons=daemons,
        dead_trimmed=trimmed,
        oldest_s=max(0.0, (now_ms - int(oldest)) / 1000) if oldest else None,
        due_in_s=(float(due) - now_ms) / 1000 if due else None,
        paused=queues.read(paused),
    )


def names_of(queue: str) -> tuple[str, ...]:
    """Return the keys that the script takes."""
    places = (keys.stream, keys.scheduled, keys.dead, keys.inbox, keys.leases)
    return (*(place(queue) for place in places), keys.paused(queue), keys.dead_trimmed(queue))
