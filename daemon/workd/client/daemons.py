"""The daemons that are there, as each tells of itself. Read by clients and `workd status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from workd.broker import keys
from workd.client.connection import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workd.client.async_link import AsyncLink
    from workd.client.commands import Command
    from workd.client.link import Link


class RunningJob(BaseModel):
    """A job that a daemon's worker is on."""

    model_config = ConfigDict(frozen=True)

    id: str
    task: str
    queue: str
    since: float
    """When its run began at the earliest, as epoch seconds."""
    pid: int
    """The worker's."""


class DaemonInfo(BaseModel):
    """A daemon's card, at most half of its lease old. Fields that are not named here are ignored."""

    model_config = ConfigDict(frozen=True)

    id: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    started_at: float
    at: float
    """When it was written, as epoch seconds."""
    state: str
    """running, quiet or draining."""
    workers: int
    workers_ready: int
    jobs_in_hand: int
    """What its workers have, and what waits in them."""
    unsettled: int = 0
    ended: int = 0
    """How many jobs it has recorded the end of, since its start; so are all that follow."""
    crashes: int = 0
    dead_letters: int = 0
    running: tuple[RunningJob, ...] = ()
    """At most fifty of them."""


def daemons(link: Link) -> list[DaemonInfo]:
    """Read all cards, by id. Raises ServerUnavailableError, EnqueueTimeoutError."""
    deadline = Deadline(link.deadline_s)
    found = [link.call(_card(raw), deadline) for raw in link.call(_ids(), deadline)]
    return _read(found)


async def daemons_async(link: AsyncLink) -> list[DaemonInfo]:
    """Do the same in an event loop."""
    async with link.places:
        deadline = Deadline(link.deadline_s)
        ids = await link.call_in_turn(_ids(), deadline)
        found = [await link.call_in_turn(_card(raw), deadline) for raw in ids]
    return _read(found)


def _ids() -> Command:
    return ("ZRANGE", keys.DAEMONS, 0, -1)


def _card(daemon_id: bytes) -> Command:
    # One by one: in a Cluster each card is on a node of its own.
    return ("GET", keys.daemon(daemon_id.decode(errors="replace")))


def _read(cards: Iterable[bytes | None]) -> list[DaemonInfo]:
    """Return what can be read: who has no card is gone, and what is none was not written by a daemon."""
    found = []
    for raw in filter(None, cards):
        try:
            found.append(DaemonInfo.model_validate_json(raw))
        except ValidationError:
            continue
    return sorted(found, key=lambda info: info.id)
