"""How jobs and workers end: frames become results, deaths become news, and every job ends once.

A part of `core.py`, called when a result pipe or a pidfd becomes readable. The order on a death is what makes a crash
cost one job: what is complete in the pipe is true, what was not claimed goes elsewhere, what was claimed is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from workd import faultpoints
from workd.pool.deaths import Killed, cause
from workd.pool.logger import log
from workd.pool.parsing import FrameError
from workd.pool.sharing import losses
from workd.pool.slot import Tenant, TenantState

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool
    from workd.pool.parsing import Frame

CLOSED_PATIENCE_S = 0.1  # between the end of a result channel and the end of its worker


class Endings:
    """Reads what workers say, and deals with their deaths."""

    def __init__(self, pool: ProcessPool) -> None:
        """Prepare."""
        self._pool = pool
        self._owner = pool.owner
        self._learn = pool.costs.learn
        self._loop = asyncio.get_running_loop()
        self.dying = 0  # workers whose end is known and whose exit status is not yet
        self.deaths = 0  # of workers that were not told to leave

    def on_results(self, tenant: Tenant) -> None:
        """Read one turn's worth of frames from a worker."""
        pool, frame = self._pool, None
        try:
            for frame in tenant.channel.read_results():
                self._deliver(tenant, frame)
            if frame is not None:
                tenant.head_since = self._loop.time()
        except FrameError as error:
            tenant.channel.distrust()
            self._give_up(tenant, str(error))
        except EOFError:
            # Mostly the first sign of its death. One that lives without its result queue is of no use, though.
            pool.listening.stop(tenant)
            give_up = pool.guarded(self._give_up)
            self._loop.call_later(CLOSED_PATIENCE_S, give_up, tenant, "it closed its result channel")
        if tenant.state is TenantState.RETIRING and not tenant.jobs:
            pool.renewal.move_out(tenant)
        pool.fill()
        pool.listening.after_read(tenant, frame)
        pool.note_if_empty()
        self._owner.on_room()

    def read_all(self, tenant: Tenant) -> None:
        """Read on as long as complete results come: what is on the books afterwards has not ended."""
        before = -1
        while tenant.done != before:
            before = tenant.done
            self.on_results(tenant)

    def _give_up(self, tenant: Tenant, note: str) -> None:
        if not tenant.gone:
            tenant.note = tenant.note or note
            tenant.state = TenantState.LEAVING
            self._pool.listening.stop(tenant)
            tenant.kill()

    def _deliver(self, tenant: Tenant, frame: Frame) -> None:
        job = tenant.jobs.get(frame.key)
        if job is None:
            msg = f"a worker sent a result for job {frame.key}, which it does not have"
            raise FrameError(msg)
        try:
            faultpoints.hit("supervisor_before_outcome")
            self._owner.on_result(job, frame)
            faultpoints.hit("supervisor_after_outcome")
        except FrameError:
            raise  # its payload makes no sense: the job has no result, its worker is broken
        except Exception as error:  # noqa: BLE001 - the owner's books are wrong from here on; the other jobs' must not be
            self._pool.boots.fail(error)
        tenant.finish(job)
        self._learn(job.task, frame.ended_at - frame.started_at)

    def on_death(self, tenant: Tenant) -> None:
        """Deal with a worker that the kernel says is dead: first what is true, then what is lost, then the slot."""
        faultpoints.hit("supervisor_on_death")
        pool = self._pool
        tenant.gone = True
        self._loop.remove_reader(tenant.pidfd)
        if tenant.state is TenantState.BOOTING:
            pool.boots.read_last_words(tenant)
        pool.listening.stop(tenant)
        tenant.kill_group()
        try:
            for frame in tenant.channel.read_last_results():
                self._deliver(tenant, frame)
        except FrameError as error:
            tenant.note = str(error)
        unclaimed = tenant.take_back()
        self.dying += 1
        pool.note_busy()
        died_at = self._loop.time()
        if tenant.jobs or not (tenant.state is TenantState.LEAVING or tenant.shot):
            self.deaths += 1
        idle = tenant.state is TenantState.READY and not tenant.jobs and not tenant.shot
        pool.boots.spawn(self._bury(tenant, died_at, idle=idle))
        if not pool.is_quiet:
            pool.put_back(unclaimed)
        elif unclaimed:
            self._owner.on_returned(unclaimed)
        pool.boots.after_death(tenant, idle=idle)
        pool.renewal.moved_out(tenant)
        self._owner.on_change()
        pool.fill()

    async def _bury(self, tenant: Tenant, died_at: float, *, idle: bool) -> None:
        """Take the exit status, then report each job that the dead worker had claimed."""
        ran_s = died_at - tenant.head_since if tenant.jobs else None
        try:
            died = await self._pool.boots.reap(tenant, ran_s)
        finally:
            tenant.close()
            self.dying -= 1
        faultpoints.hit("supervisor_reaped")
        if tenant.shares is not None:
            for job, how in losses(tenant, died, died_at):
                self._owner.on_lost(job, how)
        else:
            for number, job in enumerate(list(tenant.jobs.values())):
                # Only the first can have been running: a worker claims one of them at a time.
                self._owner.on_lost(job, cause(tenant.kill_order, job.key, died) if number == 0 else Killed("", died))
        if idle:
            log.warning("an idle worker died", worker_pid=died.pid, slot=died.slot, how=died.describe())
        self._pool.boots.servers.tidy()
        self._pool.note_if_empty()
        self._owner.on_room()
