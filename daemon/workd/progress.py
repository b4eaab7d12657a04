"""How far running jobs are: from their workers' boards to Redis, once a second, in one call for all of a queue.

Kept by the dispatcher, shown by a loop beside each session. It asks nobody and writes nothing as long as no job says
anything. What it writes has an end of its own (`progress:<id>` lives a few leases), which is put off while the job
runs; so nothing has to be removed when a job ends, and its last word can still be read for a while.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workd.broker import progress
from workd.errors import FencedError
from workd.log import get_logger
from workd.pool.reports import new_reports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.session import Session
    from workd.flights import Flight
    from workd.pool.core import ProcessPool

EVERY_S: Final = 1.0
KEPT_LEASES: Final = 4
_MOST_IN_A_CALL: Final = 500

log = get_logger("workd.progress")

Number = int | Annotated[float, Field(allow_inf_nan=False)]


class _Said(BaseModel):
    """What a worker wrote: checked, since anything may have written over its board."""

    model_config = ConfigDict(strict=True, extra="ignore")

    done: Number
    total: Number | None = None
    note: Annotated[str, Field(max_length=300)] = ""
    at: Number


class _Shown(_Said):
    """What is shown of it."""

    attempt: int
    delivery: int
    daemon: str


@dataclass(slots=True)
class _Report:
    """The last report of one job."""

    flight: Flight
    text: bytes
    due_s: float = 0.0  # loop time at which it is to be written, again


class Progress:
    """The last reports of the jobs that run here."""

    def __init__(self, daemon_id: str) -> None:
        """`daemon_id` is shown beside each report; `attach` brings the pool."""
        self._daemon_id = daemon_id
        self._pool: ProcessPool | None = None
        self._reports: dict[int, _Report] = {}  # by the job's key in the pool
        self._clock = asyncio.get_running_loop().time
        self.unreadable = 0

    def attach(self, pool: ProcessPool) -> None:
        """Take the pool whose jobs report."""
        self._pool = pool

    async def run(self, session: Session, queues: Sequence[str], lease_s: float) -> None:
        """Once a second, show what is new of the jobs of these queues, until cancelled. Raises `BrokerError`."""
        self._show_again(queues)
        while True:
            await asyncio.sleep(EVERY_S)
            self.look()
            for queue in queues:
                await self._show(session, queue, KEPT_LEASES * lease_s)

    def look(self) -> None:
        """Take note of what is new, and forget jobs that have ended."""
        if self._pool is None:
            return
        for job, raw in new_reports(self._pool):
            flight: Flight = job.ref
            try:
                said = _Said.model_validate_json(raw)
            except ValidationError:
                self.unreadable += 1
                continue
            counters = flight.entry.counters
            shown = _Shown(
                **said.model_dump(), attempt=counters.attempts + 1, delivery=flight.delivery, daemon=self._daemon_id
            )
            self._reports[job.key] = _Report(flight, shown.model_dump_json().encode())
        ended = [key for key, report in self._reports.items() if _is_over(report.flight)]
        for key in ended:
            del self._reports[key]

    def due(self, queue: str, kept_s: float) -> list[tuple[str, bytes]]:
        """Return the reports of a queue's jobs that are new, or would soon be gone from Redis; they count as shown."""
        now_s, due = self._clock(), []
        for report in self._reports.values():
            if report.due_s <= now_s and report.flight.entry.queue == queue:
                report.due_s = now_s + kept_s / 2
                due.append((report.flight.job_id, report.text))
        return due

    async def _show(self, session: Session, queue: str, kept_s: float) -> None:
        due = self.due(queue, kept_s)
        for first in range(0, len(due), _MOST_IN_A_CALL):
            failed = await progress.show(session, queue, due[first : first + _MOST_IN_A_CALL], kept_s)
            if failed is None:
                raise FencedError(queue)
            if failed:
                log.warning("progress could not be written; keys of another type are in its place", jobs=failed)

    def _show_again(self, queues: Sequence[str]) -> None:
        """Have all be written anew by a new session: nobody knows what Redis has of it."""
        for report in self._reports.values():
            if report.flight.entry.queue in queues:
                report.due_s = 0.0


def _is_over(flight: Flight) -> bool:
    return flight.settlement is not None or flight.dropped
