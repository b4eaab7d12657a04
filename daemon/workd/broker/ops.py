"""What the dispatcher asks of a session and is answered, as data; and how settlements are packed for their script.

Pure. The session sends what `pack` returns; `scripts/settle.lua` is the reader and names the same widths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Self, assert_never

from workd.broker import kinship
from workd.broker.entries import MAX_MS, Entry
from workd.broker.kinship import Kin
from workd.broker.queues import Paused
from workd.retry import Counters

Argument = str | bytes | int | float


# ── settlements ──


class Finish(NamedTuple):
    """The job ended as succeeded, cancelled or expired."""

    entry_id: str
    job_id: str
    outcome: bytes | None
    result_ttl_s: float = 0.0
    """How long `result:<id>` keeps the outcome; 0 keeps none."""
    reply_to: str | None = None
    has_producer_id: bool = False
    unique: str | None = None
    duplicate: bool = False
    """Another job holds this one's id or `unique`: that job's result and claims stay as they are."""
    kin: Kin | None = None
    """What its end means for its group and its chain."""


@dataclass(frozen=True, slots=True)
class Bury:
    """The job is dead: to the dead letters with it."""

    entry_id: str
    job_id: str
    outcome: bytes | None
    result_ttl_s: float
    reply_to: str | None
    has_producer_id: bool
    unique: str | None
    message: bytes
    entry_fields: bytes | None
    """The fields as JSON of an entry that had no message."""
    reason: str
    error: bytes
    task: str
    attempts: int
    deliveries: int
    signature: bytes | None
    kin: Kin | None = None


@dataclass(frozen=True, slots=True)
class Readd:
    """The job goes back: into the stream now (`due_ms` None), or among the scheduled ones until then."""

    entry_id: str
    job_id: str
    message: bytes
    counters: Counters
    enqueued_ms: int
    signature: bytes | None = None
    has_producer_id: bool = False
    unique: str | None = None
    due_ms: int | None = None


Settlement = Finish | Bury | Readd


@dataclass(frozen=True, slots=True)
class SettleReply:
    """What became of a batch. What is neither failed nor skipped is settled."""

    fenced: bool = False
    """Our lease is gone: nothing at all was done."""
    failed: tuple[tuple[str, str], ...] = ()
    """(entry id, error) of jobs whose result, retry or dead letter could not be written; they are still pending."""
    next_due_ms: int | None = None
    """When the first scheduled job is due, if this batch scheduled any."""
    lost_replies: int = 0
    skipped: int = 0
    """Jobs that are not pending here (any more): the batch was sent before, or the stream was deleted."""

    @classmethod
    def read(cls, reply: Sequence[Any]) -> Self:
        """Read what `scripts/settle.lua` returned."""
        if reply[0] == 1:
            return cls(fenced=True)
        _, skipped, lost_replies, next_score, *words = reply
        pairs = zip(words[::2], words[1::2], strict=True)
        failed = tuple((entry_id.decode(), error.decode(errors="replace")) for entry_id, error in pairs)
        return cls(failed=failed, next_due_ms=due(next_score), lost_replies=lost_replies, skipped=skipped)


# ── admission ──


@dataclass(frozen=True, slots=True)
class Admit:
    """Ask whether a job with an id of its producer's, with `unique`, or put back before, may run."""

    entry_id: str
    job_id: str
    has_producer_id: bool
    unique: str | None = None


class Admitted(Enum):
    """The answer to `Admit`."""

    RUN = auto()
    DUPLICATE = auto()
    CANCELLED = auto()
    FENCED = auto()
    """For all of the call: our lease is gone."""
    WRONG_KEY = auto()
    """A claim key of this job holds another type; the job is held back."""


# ── other answers ──


@dataclass(frozen=True, slots=True)
class RenewReply:
    """What a renewal found."""

    fenced: bool
    cancelled: frozenset[str] = frozenset()
    """The ids, among those in flight, that somebody has cancelled."""


@dataclass(frozen=True, slots=True)
class TakeoverReply:
    """What a takeover pass brought."""

    entries: list[Entry]
    next_due_ms: int | None
    taken_from: tuple[str, ...] = ()
    fenced: bool = False
    """Our own lease is gone, so nothing was taken."""
    server_ms: int = 0
    """The server's clock."""
    paused: Paused | None = None
    """Who has paused the queue, if anybody has."""
    waiting: tuple[str, ...] = ()
    """Tasks with jobs that wait for a limit."""
    oldest_ms: int | None = None
    """When the oldest entry came that no daemon has fetched yet, by the server's clock; None: there is none."""
    undelivered: int | None = None
    """How many of those there are; None: the server cannot tell."""


@dataclass(frozen=True, slots=True)
class MoveReply:
    """How many scheduled jobs were moved into the stream, and when the next one is due (may be past: call again)."""

    moved: int
    next_due_ms: int | None


def due(score: bytes) -> int | None:
    """Return the time in ms that the score of a scheduled job means; a script says '' if there is none.

    Anybody may have written it: what is below zero is due now, what no clock will reach is none.
    """
    if not score:
        return None
    due_ms = float(score)
    return None if due_ms > MAX_MS else math.ceil(max(due_ms, 0.0))


# ── packing ──


def pack(items: Sequence[Settlement]) -> list[Argument]:
    """Return the arguments of a batch for `scripts/settle.lua`: per job a letter, then as many as that letter says."""
    packed: list[Argument] = []
    for item in items:
        match item:
            case Finish():
                packed += _finish(item)
            case Bury():
                packed += _bury(item)
            case Readd():
                packed += _readd(item)
            case _:
                assert_never(item)
    return packed


def _finish(item: Finish) -> tuple[Argument, ...]:
    if item.has_producer_id or item.unique or item.reply_to or item.kin:
        return (
            *kinship.pack(item.entry_id, item.kin),
            "f",
            item.entry_id,
            *_ending(item),
            b"1" if item.duplicate else b"",
        )
    if item.outcome is None or item.result_ttl_s <= 0:
        return ("x", item.entry_id)
    return ("r", item.entry_id, item.job_id, item.outcome, _ms(item.result_ttl_s))


def _bury(item: Bury) -> tuple[Argument, ...]:
    return (
        *kinship.pack(item.entry_id, item.kin),
        "d",
        item.entry_id,
        *_ending(item),
        item.message,
        item.entry_fields or b"",
        item.reason,
        item.error,
        item.task,
        item.attempts,
        item.deliveries,
        item.signature or b"",
    )


def _ending(item: Finish | Bury) -> tuple[Argument, ...]:
    return (
        item.job_id,
        item.outcome or b"",
        _ms(item.result_ttl_s) if item.outcome is not None else 0,
        item.reply_to or b"",
        b"1" if item.has_producer_id else b"",
        item.unique or b"",
    )


def _readd(item: Readd) -> tuple[Argument, ...]:
    return (
        "a",
        item.entry_id,
        item.job_id,
        item.message,
        item.counters.encode(),
        item.enqueued_ms,
        item.signature or b"",
        b"" if item.due_ms is None else item.due_ms,
        b"1" if item.has_producer_id else b"",
        item.unique or b"",
    )


def _ms(seconds: float) -> int:
    """Whole milliseconds, at least 1 for anything above nothing: Redis refuses an expiry of 0."""
    return max(1, int(seconds * 1000)) if seconds > 0 else 0
