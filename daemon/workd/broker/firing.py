"""What the schedule asks of Redis: up to when each line is done, and to enqueue what is due. Its calls and answers.

Called by `cron`, over the session, and raising as that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from workd.broker import keys, scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workd.broker.link import Link
    from workd.broker.session import Session


@dataclass(frozen=True, slots=True)
class Firing:
    """One fire time of one line, and the message to enqueue for it."""

    name: str
    at_s: int
    fingerprint: str
    message: bytes
    signature: bytes = b""


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


async def marks(session: Session, queue: str, words: Mapping[str, str]) -> dict[str, int] | None:
    """Return up to when each line is done, in epoch s: now for a new one. None when fenced.

    `words` are the lines' fingerprints, empty for a line that is switched off: that is forgotten.
    """
    pairs = [word for pair in words.items() for word in pair]

    async def call(link: Link, daemon_id: str) -> list[int]:
        answer: list[int] = await scripts.CRON_MARKS.call(
            link, (keys.leases(queue), keys.cron(queue)), daemon_id, *pairs
        )
        return answer

    fenced, *last_s = await session.ask("asking when the schedule has fired", queue, call)
    return None if fenced else dict(zip(words, last_s, strict=True))


async def fire(session: Session, queue: str, firings: Sequence[Firing]) -> FireReply:
    """Enqueue the jobs of fire times that have come, each once over the fleet; asking twice is harmless."""
    names = (keys.stream(queue), keys.leases(queue), keys.cron(queue))
    words = [word for one in firings for word in (one.name, one.at_s, one.fingerprint, one.message, one.signature)]

    async def call(link: Link, daemon_id: str) -> list[int | bytes]:
        answer: list[int | bytes] = await scripts.CRON_FIRE.call(link, names, daemon_id, *words)
        return answer

    fenced, *rest = await session.ask("firing the schedule", queue, call)
    if fenced:
        return FireReply(fenced=True)
    server_ms, *answers = rest
    return FireReply(
        fired=tuple(_FIRED[answer] if isinstance(answer, int) else Fired.REFUSED for answer in answers),
        server_ms=int(server_ms),
        errors=tuple(answer.decode(errors="replace") for answer in answers if isinstance(answer, bytes)),
    )
