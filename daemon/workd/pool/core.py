"""The supervised pool: slots full of workers, jobs in, outcomes and deaths out.

    owner ── submit ──▶ waiting ── fill ──▶ tenant's socket ──▶ worker
      ▲                    ▲                     │                 │
      │                    └──── take back ──────┘                 │
      ├── on_result ◀── frames ◀── result pipe ◀───────────────────┤
      └── on_lost   ◀── death ◀─── pidfd ◀─────────────────────────┘

Runs in one asyncio loop and is called from it alone. It knows bytes and processes, not Redis and not tasks. It never
blocks: every read is non-blocking and bounded, every kill is a signal whose effect arrives as an event, and all
timers are here, so that they fire whatever a worker does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from workd.pool import balance
from workd.pool.boots import Boots
from workd.pool.deaths import Killed, KillOrder, cause
from workd.pool.frames import FrameError
from workd.pool.slot import Slot, Tenant, TenantState
from workd.pool.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workd.pool.frames import Frame
    from workd.pool.launcher import Forkserver
    from workd.pool.owner import PoolOptions, PoolOwner
    from workd.pool.slot import Job

CLOSED_PATIENCE_S = 0.1  # between the end of a result channel and the end of its worker
LEAVE_S = 2.0  # how long an idle worker may take to leave when asked

log = structlog.get_logger("workd.pool")


class ProcessPool:
    """A fixed number of slots, each with a worker whenever one can be had."""

    def __init__(self, owner: PoolOwner, options: PoolOptions, forkserver: Forkserver | None = None) -> None:
        """Prepare; `forkserver` is one that was launched early and not yet attached."""
        self._owner = owner
        self._options = options
        self._loop = asyncio.get_running_loop()
        self.slots = [Slot(index) for index in range(options.size)]
        self.costs = balance.Costs()
        self.waiting: deque[Job] = deque()
        self._keys = itertools.count(1)
        self._dying = 0  # workers whose end is known and whose exit status is not yet
        self._quiet = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._watch = Watch(self)
        self.boots = Boots(self, forkserver)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def options(self) -> PoolOptions:
        """What the pool was made with."""
        return self._options

    @property
    def owner(self) -> PoolOwner:
        """Who is told of everything."""
        return self._owner

    async def start(self) -> dict[str, Any]:
        """Load the modules, fill every slot, and return the catalogue. Raises `BootError`."""
        return await self.boots.start()

    def quiet(self) -> list[Job]:
        """Hand over no more jobs; return all that have not been started. Safe to call twice."""
        self._quiet = True
        back = [job for slot in self.slots if slot.tenant for job in slot.tenant.take_back()]
        back.extend(self.waiting)
        self.waiting.clear()
        self._note_if_empty()
        return back

    async def stop(self, *, kill: bool = False) -> None:
        """End every worker and the forkserver; running jobs are finished first unless `kill`. Safe to call twice.

        Jobs that have not been started go to `on_returned`, killed ones to `on_lost`.
        """
        self.boots.quiet()
        if unstarted := self.quiet():
            self._owner.on_returned(unstarted)
        for slot in self.slots:
            if (tenant := slot.tenant) is not None:
                if kill or tenant.state is TenantState.BOOTING:
                    self.kill(tenant, KillOrder(None, None, "the pool is stopping"))
                else:
                    tenant.state = TenantState.LEAVING
                    tenant.channel.hang_up()
        if not kill:
            await self.wait_empty()
        try:
            await asyncio.wait_for(self.boots.wait_gone(), LEAVE_S)
        except TimeoutError:
            self.boots.kill_births()
            for slot in self.slots:  # a thread or an exit handler of a task holds it up
                if slot.tenant is not None:
                    self.kill(slot.tenant, KillOrder(None, None, "the pool is stopping"))
            await self.boots.wait_gone()
        await self.wait_empty()
        self._watch.stop()
        await self.boots.stop()

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_key(self) -> int:
        """Return a number for a new job."""
        return next(self._keys)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs; they are handed over in order as slots have room. Never blocks."""
        if self._quiet:
            self._owner.on_returned(list(jobs))
            return
        now = self._loop.time()
        for job in jobs:
            job.queued_at = now
            self.waiting.append(job)
        self._empty.clear()
        self.fill()

    def capacity(self) -> tuple[int, int]:
        """Return how many more jobs of average cost the pool could start on or buffer now, and how many if idle."""
        if self._quiet:
            return 0, 0
        mean_s, free, ready, now = self.costs.mean_s, 0, 0, self._loop.time()
        for slot in self.slots:
            tenant = slot.tenant
            if tenant is not None and tenant.state is TenantState.READY and tenant.kill_order is None:
                if not tenant.jobs or now - tenant.head_since <= balance.HEAD_PATIENCE_S:
                    free += balance.room(len(tenant.jobs), tenant.load_s, mean_s)
                ready += 1
        return max(0, free - len(self.waiting)), ready * balance.room(0, 0.0, mean_s)

    def cancel(self, key: int, why: str) -> Job | None:
        """Stop a job: one that has not started is returned, a running one is killed and comes by `on_lost`."""
        for job in self.waiting:
            if job.key == key:
                self.waiting.remove(job)
                self._note_if_empty()
                return job
        for slot in self.slots:
            if (tenant := slot.tenant) is not None and key in tenant.jobs:
                return self._cancel_in(tenant, key, why)
        return None

    def kill_running(self, why: str) -> None:
        """Kill every worker that is on a job; each job comes back by `on_lost` once its worker is dead."""
        for slot in self.slots:
            if slot.tenant is not None and slot.tenant.jobs:
                self.kill(slot.tenant, KillOrder(None, None, why))

    def running(self) -> list[Job]:
        """Return the jobs that workers have now, the buffered ones included."""
        return [job for slot in self.slots if slot.tenant for job in slot.tenant.jobs.values()]

    async def wait_empty(self) -> None:
        """Wait until the pool has no job, neither waiting nor running, and no death is left to report."""
        await self._empty.wait()

    def fill(self) -> None:
        """Hand waiting jobs to slots with room, idle ones first."""
        waiting, now = self.waiting, self._loop.time()
        while waiting and not self._quiet:
            job = waiting[0]
            tenant = self._roomiest(job, now)
            if tenant is None:
                break
            job.cost_s = self.costs.of(job.task)
            if tenant.hand_over(job, now):
                waiting.popleft()
        self._watch.plan()

    def _roomiest(self, job: Job, now: float) -> Tenant | None:
        best: Tenant | None = None
        for slot in self.slots:
            tenant = slot.tenant
            if tenant is not None and tenant.has_room(job, now):
                if not tenant.jobs:
                    return tenant
                if best is None or tenant.load_s < best.load_s:
                    best = tenant
        return best

    def _cancel_in(self, tenant: Tenant, key: int, why: str) -> Job | None:
        back = tenant.take_back()
        wanted = next((job for job in back if job.key == key), None)
        self.put_back([job for job in back if job.key != key])
        if wanted is None:
            self.kill(tenant, KillOrder(key, None, why))
        self._note_if_empty()
        self.fill()
        return wanted

    def return_unstarted(self, jobs: list[Job]) -> None:
        """Give waiting jobs back to the owner."""
        if jobs:
            gone = {job.key for job in jobs}
            self.waiting = deque(job for job in self.waiting if job.key not in gone)
            self._owner.on_returned(jobs)
            self._note_if_empty()

    def put_back(self, jobs: list[Job]) -> None:
        """Have jobs that were taken back wait before all others."""
        self.waiting.extendleft(reversed(jobs))

    # ── results and deaths ──────────────────────────────────────────────────────────────────────────────────────

    def on_results(self, slot: Slot) -> None:
        """Read one turn's worth of frames from a worker."""
        tenant = slot.tenant
        if tenant is None:
            return
        try:
            for frame in tenant.channel.read_results():
                self._deliver(tenant, frame)
                tenant.head_since = self._loop.time()
        except FrameError as error:
            tenant.channel.distrust()
            self._give_up(slot, tenant, str(error))
        except EOFError:
            # Mostly the first sign of its death. One that lives without its result queue is of no use, though.
            self._loop.remove_reader(tenant.channel.results_fd)
            self._loop.call_later(CLOSED_PATIENCE_S, self._give_up, slot, tenant, "it closed its result channel")
        self.fill()
        self._owner.on_room()
        self._note_if_empty()

    def _give_up(self, slot: Slot, tenant: Tenant, note: str) -> None:
        if slot.tenant is tenant:
            tenant.note = tenant.note or note
            tenant.state = TenantState.LEAVING
            self._loop.remove_reader(tenant.channel.results_fd)
            tenant.kill()

    def _deliver(self, tenant: Tenant, frame: Frame) -> None:
        job = tenant.jobs.get(frame.key)
        if job is None:
            msg = f"a worker sent a result for job {frame.key}, which it does not have"
            raise FrameError(msg)
        try:
            self._owner.on_result(job, frame)
        except FrameError:
            raise  # its payload makes no sense: the job has no result, its worker is broken
        except Exception as error:  # noqa: BLE001 - the owner's books are wrong from here on; the other jobs' must not be
            self.boots.fail(error)
        tenant.finish(frame.key)
        self.costs.learn(job.task, frame.ended_at - frame.started_at)

    def on_death(self, slot: Slot) -> None:
        """Deal with a worker that the kernel says is dead: first what is true, then what is lost, then the slot."""
        tenant = slot.tenant
        if tenant is None:
            return
        self._loop.remove_reader(tenant.pidfd)
        if tenant.state is TenantState.BOOTING:
            self.boots.read_last_words(tenant)
        else:
            self._loop.remove_reader(tenant.channel.results_fd)
        tenant.kill_group()
        try:
            for frame in tenant.channel.read_last_results():
                self._deliver(tenant, frame)
        except FrameError as error:
            tenant.note = str(error)
        unclaimed = tenant.take_back()
        slot.tenant = None
        self._dying += 1
        self._empty.clear()
        ran_s = self._loop.time() - tenant.head_since if tenant.jobs else None
        self.boots.spawn(self._bury(slot, tenant, ran_s))
        if not self._quiet:
            self.put_back(unclaimed)
        elif unclaimed:
            self._owner.on_returned(unclaimed)
        self.boots.after_death(slot, tenant)
        self._owner.on_change()
        self.fill()

    async def _bury(self, slot: Slot, tenant: Tenant, ran_s: float | None) -> None:
        """Take the exit status, then report each job that the dead worker had claimed."""
        try:
            died = await self.boots.reap(slot, tenant, ran_s)
        finally:
            tenant.close()
            self._dying -= 1
        claimed = list(tenant.jobs.values())
        for number, job in enumerate(claimed):
            # Only the first can have been running: a worker claims one job at a time.
            self._owner.on_lost(job, cause(tenant.kill_order, job.key, died) if number == 0 else Killed("", died))
        if not claimed and tenant.state is TenantState.READY and tenant.kill_order is None:
            log.warning("an idle worker died", worker_pid=died.pid, slot=slot.index, how=died.describe())
        self._owner.on_room()
        self._note_if_empty()

    def kill(self, tenant: Tenant, order: KillOrder) -> None:
        """Kill a worker; the first order is the reason that its job is told."""
        if tenant.kill_order is None:
            tenant.kill_order = order
        tenant.kill()

    def _note_if_empty(self) -> None:
        busy = self.waiting or self._dying or any(slot.tenant and slot.tenant.jobs for slot in self.slots)
        if not busy:
            self._empty.set()
