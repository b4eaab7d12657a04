"""What the limits of a task are, and asking Redis what they allow. Pure but for the one call.

The gate asks, by way of the session. How it is decided stands in `scripts/permit.lua`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from workd.broker import entries, keys, scripts

if TYPE_CHECKING:
    from workd.broker.entries import Entry
    from workd.broker.link import Link


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds for a task over the whole fleet, in one queue; without either, whatever waits may run."""

    most_running: int | None = None
    """How many may run at once."""
    token_us: float | None = None
    """Microseconds from one start to the next, on average."""
    most_tokens: int = 1
    """How many may start at once after a time of rest."""


@dataclass(frozen=True, slots=True)
class PermitAsk:
    """What a daemon gives back of a task's permits, and what it would like to have. All ids are entries'."""

    task: str
    limit: Limit
    ended: tuple[str, ...] = ()
    """Jobs that have ended here, or are to run again later."""
    unstarted: tuple[str, ...] = ()
    """Jobs that had a permit and found no worker: they wait again, where they waited before."""
    asking: tuple[str, ...] = ()
    """Jobs that were fetched and would start."""
    room: int = 0
    """How many that wait could start here."""
    unused: int = 0
    """How many jobs have been given to us that ended before they could start: their tokens are for others."""
    verify: bool = False
    """Look whether all permits that are given are still in use."""


class Permitted(Enum):
    """The answer to a job that asks."""

    RUN = auto()
    WAITS = auto()
    """It is nobody's now, and comes to some daemon when it is its turn."""
    NOT_OURS = auto()
    """It is not pending for us any more."""


@dataclass(frozen=True, slots=True)
class PermitReply:
    """What the limits of one task allow."""

    fenced: bool = False
    wrong_key: str = ""
    """A key of another type in a place of ours: nothing was done."""
    answers: tuple[Permitted, ...] = ()
    """One for each that asked, in that order."""
    taken: tuple[Entry, ...] = ()
    """Jobs that waited, and are ours and may run now."""
    cancelled: frozenset[str] = frozenset()
    """Entries among these whose job somebody has cancelled meanwhile."""
    others_wait: bool = False
    more: int = 0
    """How many of them could run now, if a daemon had room."""
    next_in_s: float | None = None
    """When the next one may start, where only the rate holds it up."""


_ANSWERS: Final = (Permitted.RUN, Permitted.WAITS, Permitted.NOT_OURS)


async def ask(link: Link, queue: str, daemon_id: str, wish: PermitAsk, *, most_bytes: int, keep_ms: int) -> PermitReply:
    """Call the script."""
    task, limit = wish.task, wish.limit
    names = (keys.stream(queue), keys.leases(queue), keys.permits(queue, task), keys.rate(queue, task))
    reply = await scripts.PERMIT.call(
        link,
        names,
        keys.GROUP,
        daemon_id,
        keys.waiting(task),
        keys.cancel(queue, ""),
        b"" if limit.most_running is None else limit.most_running,
        b"" if limit.token_us is None else repr(limit.token_us),
        limit.most_tokens,
        wish.room,
        most_bytes,
        b"1" if wish.verify else b"",
        keep_ms,
        len(wish.ended),
        len(wish.unstarted),
        wish.unused,
        *wish.ended,
        *wish.unstarted,
        *wish.asking,
    )
    match reply[0]:
        case -1:
            return PermitReply(fenced=True)
        case -2:
            return PermitReply(wrong_key=reply[1].decode(errors="replace"))
        case _:
            _, more, next_ms, now_ms, answers, rows = reply
    return PermitReply(
        answers=tuple(_ANSWERS[number] for number in answers),
        taken=tuple(entries.from_claim(queue, [row[:3] for row in rows])),
        cancelled=frozenset(row[0].decode() for row in rows if row[3]),
        others_wait=more >= 0,
        more=max(0, more),
        next_in_s=None if next_ms < 0 else max(0, next_ms - now_ms) / 1000,
    )
