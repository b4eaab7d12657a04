"""Fire times of the schedule, as the session asks Redis about them. Its two calls and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from workd.broker import keys, scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workd.broker.link import Link


@dataclass(frozen=True, slots=True)
class Firing:
    """One fire time of one line, and the message to enqueue for it."""

    name: str
    at_s: int
    fingerprint: str
    message: bytes


class Fired(Enum):
    """What became of a firing."""

    BEFORE = auto()
    """It had been enqueued before, most likely by another daemon."""
    NOW = auto()
    TOO_EARLY = auto()
    """By the server's clock its time has not come."""
    REFUSED = auto()
    """Redis would not take it; see `FireReply.errors`."""


@dataclass(frozen=True, slots=True)
class FireReply:
    """What became of some firings, in their order."""

    fired: tuple[Fired, ...] = ()
    server_ms: int = 0
    errors: tuple[str, ...] = ()
    fenced: bool = False


_FIRED = (Fired.BEFORE, Fired.NOW, Fired.TOO_EARLY)


async def marks(link: Link, daemon_id: str, queue: str, words: Mapping[str, str]) -> dict[str, int] | None:
    """Return the epoch seconds of each line's last fire time; None when fenced. `words` are the lines' fingerprints."""
    names = (keys.leases(queue), keys.cron(queue))
    pairs = (word for pair in words.items() for word in pair)
    fenced, *last_s = await scripts.CRON_MARKS.call(link, names, daemon_id, *pairs)
    return None if fenced else dict(zip(words, last_s, strict=True))


async def fire(link: Link, daemon_id: str, queue: str, firings: Sequence[Firing]) -> FireReply:
    """Enqueue what has not been enqueued yet."""
    names = (keys.stream(queue), keys.leases(queue), keys.cron(queue))
    words = (word for one in firings for word in (one.name, one.at_s, one.fingerprint, one.message))
    fenced, *rest = await scripts.CRON_FIRE.call(link, names, daemon_id, *words)
    if fenced:
        return FireReply(fenced=True)
    server_ms, *answers = rest
    return FireReply(
        fired=tuple(_FIRED[answer] if isinstance(answer, int) else Fired.REFUSED for answer in answers),
        server_ms=server_ms,
        errors=tuple(answer.decode(errors="replace") for answer in answers if isinstance(answer, bytes)),
    )
