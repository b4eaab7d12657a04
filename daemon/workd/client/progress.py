"""How far a job is, as its producer reads it: one key, written by the job's daemon about once a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from workd.broker import keys

if TYPE_CHECKING:
    from workd.client.async_link import AsyncLink
    from workd.client.commands import Command
    from workd.client.handle import Job
    from workd.client.link import Link


class JobProgress(BaseModel):
    """What a run said last. Fields that are not named here are ignored: later versions may add some."""

    model_config = ConfigDict(strict=True, frozen=True)

    done: int | float
    total: int | float | None = None
    note: str = ""
    at: float
    """When it was said, as epoch seconds of the daemon's host."""
    attempt: int = 1
    delivery: int = 1
    daemon: str = ""

    @property
    def fraction(self) -> float | None:
        """How much of it is done, 0 to 1; None without a total."""
        return None if not self.total else min(1.0, max(0.0, self.done / self.total))


def progress(link: Link, job: Job) -> JobProgress | None:
    """Read a job's progress. Raises ServerUnavailableError, EnqueueTimeoutError."""
    return _read(link.call(_command(job)))


async def progress_async(link: AsyncLink, job: Job) -> JobProgress | None:
    """Do the same in an event loop."""
    return _read(await link.call(_command(job)))


def _command(job: Job) -> Command:
    return ("GET", keys.progress(job.queue, job.id))


def _read(raw: bytes | None) -> JobProgress | None:
    """Return what a daemon wrote; what somebody else did is no progress."""
    if raw is None:
        return None
    try:
        return JobProgress.model_validate_json(raw)
    except ValidationError:
        return None
