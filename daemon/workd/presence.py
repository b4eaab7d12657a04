"""A daemon's card: what it shows of itself in Redis, for `workd status` and whoever looks on.

Owned by the supervisor. The card lives as long as a lease and is renewed twice in that time, so a daemon that is gone
is soon off the list, however it went. Nothing depends on it: what cannot be shown is said once and tried again.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from workd.errors import BrokerError
from workd.log import get_logger
from workd.pool.reports import running_jobs
from workd.schedule import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workd.broker.registry import Registry
    from workd.clock import Clock
    from workd.pool.core import ProcessPool

SHOWN_JOBS: Final = 50

log = get_logger("workd.presence")


class Card:
    """What is on it."""

    def __init__(
        self,
        daemon_id: str,
        queues: Sequence[str],
        pool: ProcessPool,
        details: Callable[[], Mapping[str, object]],
        clock: Clock,
    ) -> None:
        """`details` are the daemon's own figures (see `vitals`)."""
        self._pool = pool
        self._details = details
        self.clock = clock
        self._fixed: dict[str, Any] = {
            "v": 1,
            "id": daemon_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version("workd"),
            "queues": list(queues),
            "started_at": round(clock.now_s(), 3),
        }

    def write(self) -> bytes:
        """Return it as JSON."""
        now_s = self.clock.now_s()
        jobs = islice(running_jobs(self._pool), SHOWN_JOBS)
        running = [
            {
                "id": job.ref.job_id,
                "task": job.task,
                "queue": job.ref.entry.queue,
                "since": round(now_s - ran_s, 3),
                "pid": job.worker_pid,
            }
            for job, ran_s in jobs
        ]
        return json.dumps(self._fixed | {"at": round(now_s, 3), **self._details(), "running": running}).encode()


class Presence:
    """Keeps the card in Redis."""

    def __init__(self, registry: Registry, card: Card, lease_s: float) -> None:
        """Prepare; `run` does the work."""
        self._registry = registry
        self._card = card
        self._lease_s = lease_s
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()  # or a card could be shown just after it was taken away
        self._left = False
        self._complained = False

    def hurry(self) -> None:
        """Show it now: something on it has changed that people wait for."""
        self._changed.set()

    async def run(self) -> None:
        """Show the card until cancelled; also where there was no time to take it away, the connection is closed."""
        try:
            while True:
                self._changed.clear()
                async with self._turn:
                    if not self._left:
                        await self._show()
                await until(self._changed, asyncio.sleep(self._lease_s / 2))
        finally:
            await self._registry.close()

    async def leave(self) -> None:
        """Take the card away, and close the connection."""
        async with self._turn:
            self._left = True
            try:
                await self._registry.remove()
            except BrokerError as error:
                self._complain(error)
            finally:
                await self._registry.close()

    async def _show(self) -> None:
        try:
            now_ms = int(self._card.clock.now_s() * 1000)
            await self._registry.put(self._card.write(), int(self._lease_s * 1000), now_ms)
            self._complained = False
        except BrokerError as error:
            self._complain(error)

    def _complain(self, error: BrokerError) -> None:
        """Say it once: a session that is broken says so itself, and work goes on without."""
        if not self._complained:
            self._complained = True
            log.info("this daemon can't be shown on the list of daemons; its work goes on", error=str(error))
