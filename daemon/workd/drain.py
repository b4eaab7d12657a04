"""The end of a daemon: start nothing more, hand back what has not started, wait for the rest, settle all of it, leave.

Owned by the supervisor, which calls `run` once. The deadline can be made now, and the jobs that run be stopped now, at
any time from before `run` until its end. Whatever happens, a job that Redis does not hear of stays pending, and another
daemon takes it over.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from workd.errors import BrokerError
from workd.log import get_logger
from workd.pool.stops import ask_all_to_stop

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from workd.consumer import Consumer
    from workd.dispatcher import Dispatcher
    from workd.lives import Lives
    from workd.pool.core import ProcessPool
    from workd.presence import Presence

SETTLE_GRACE_S = 3.0  # for what the end of a drain has produced

_log = get_logger("workd.drain")


class Drain:
    """How the daemon's parts come to their end."""

    def __init__(
        self,
        pool: ProcessPool,
        dispatcher: Dispatcher,
        consumer: Consumer | Lives,
        presence: Presence,
        drain_s: float,
    ) -> None:
        """`drain_s`: what running jobs have to finish."""
        self._pool = pool
        self._dispatcher = dispatcher
        self._consumer = consumer
        self._presence = presence
        self.drain_s = drain_s  # may change until `run`
        self._hurry = asyncio.Event()
        self._deadline = math.inf

    def hurry(self) -> None:
        """Have the deadline now. Safe to call twice, and before `run`."""
        self._hurry.set()
        self._deadline = min(self._deadline, asyncio.get_running_loop().time())

    def time_left_s(self) -> float:
        """Return how long running jobs may still take; negative once the deadline is over."""
        return self._deadline - asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Bring everything to its end; returns when nothing is left to be done, or to be hoped for."""
        pool, deadline = self._pool, asyncio.get_running_loop().time() + self.drain_s
        self._deadline = min(self._deadline, deadline)
        self._dispatcher.draining = True
        unstarted = pool.quiet()
        ask_all_to_stop(pool)
        self._dispatcher.on_returned(unstarted)
        _log.info("draining", handed_back=len(unstarted), running=len(pool.running()), deadline_s=self.drain_s)
        await self._within(self._consumer.quiet(), deadline)
        if not await self._within(pool.wait_empty(), deadline):
            self._kill_running()
            await pool.wait_empty()
        await self._settle_rest(deadline)

    def _kill_running(self) -> None:
        for job in self._pool.running():
            about = {"job_id": job.ref.job_id, "task": job.task, "delivery": job.ref.delivery}
            _log.warning("the deadline is over: killed and handed back", worker_pid=job.worker_pid, **about)
        self._pool.kill_running("the daemon is stopping")

    async def _settle_rest(self, deadline: float) -> None:
        """Have everything recorded that can be, and give up the leases."""
        settler, pulse = self._dispatcher.settler, self._consumer.pulse
        await self._within(settler.wait_empty(), deadline)
        try:
            async with asyncio.timeout(SETTLE_GRACE_S if pulse.connected else 0):
                await settler.wait_empty()
                await self._consumer.depart()
                await self._presence.leave()
        except (TimeoutError, BrokerError) as error:
            trouble = pulse.trouble or str(error)
            _log.warning("the leases are left to run out", unrecorded=settler.unsettled, trouble=trouble)
        if settler.unsettled:
            _log.warning("not everything was recorded; others will run these jobs again", jobs=settler.unsettled)
        _log.info("stopped", ended=settler.ended, crashes=self._dispatcher.crashes)

    async def _within(self, work: Awaitable[None], deadline: float) -> bool:
        """Wait for `work` until the deadline or a hurry; say whether it was done."""
        working = asyncio.ensure_future(work)
        hurry = asyncio.ensure_future(self._hurry.wait())
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            await asyncio.wait({working, hurry}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            return working.done()
        finally:
            await cancel(working, hurry)


async def cancel(*futures: asyncio.Future[Any]) -> None:
    """Cancel and wait, without swallowing a cancellation of the caller."""
    for future in futures:
        future.cancel()
    await asyncio.wait(futures)
