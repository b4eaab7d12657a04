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
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from workd import faultpoints
from workd.errors import PoolError
from workd.pool import balance
from workd.pool.balance import Capacity
from workd.pool.boots import Boots
from workd.pool.channel import SpillError
from workd.pool.deaths import KillOrder
from workd.pool.endings import Endings
from workd.pool.listening import Listening
from workd.pool.renewal import LEAVE_S, Renewal
from workd.pool.slot import Slot, Tenant, TenantState
from workd.pool.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from workd.errors import BootError
    from workd.pool.launcher import Forkserver
    from workd.pool.owner import PoolOptions, PoolOwner
    from workd.pool.slot import Job
    from workd.pool.stats import PoolStats


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
        self._quiet = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.watch = Watch(self)
        self.endings = Endings(self)
        self.listening = Listening(self)
        self.renewal = Renewal(self)
        self.boots = Boots(self, forkserver)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def options(self) -> PoolOptions:
        """What the pool was made with."""
        return self._options

    @property
    def size(self) -> int:
        """How many slots it has, without those that end with the job they are on."""
        return sum(not slot.closing for slot in self.slots)

    @property
    def owner(self) -> PoolOwner:
        """Who is told of everything."""
        return self._owner

    @property
    def is_quiet(self) -> bool:
        """Whether jobs are handed over no more."""
        return self._quiet

    def tenants(self) -> Iterator[Tenant]:
        """Yield every worker that there is: at work, booting, waiting for its slot, and leaving."""
        for slot in self.slots:
            if slot.tenant is not None:
                yield slot.tenant
            if slot.successor is not None:
                yield slot.successor
        yield from self.renewal.leaving

    def stats(self) -> PoolStats:
        """Return what there is to know about the pool now."""
        from workd.pool.stats import describe  # two dataclasses fewer to be made before the first result

        return describe(self)

    async def start(self) -> dict[str, Any]:
        """Load the modules, fill every slot, and return the catalogue. Raises `BootError`."""
        return await self.boots.start()

    def quiet(self) -> list[Job]:
        """Hand over no more jobs; return all that have not been started. Safe to call twice."""
        self._quiet = True
        back = [job for tenant in self.tenants() for job in tenant.take_back()]
        back.extend(self.waiting)
        self.waiting.clear()
        self.note_if_empty()
        return back

    async def stop(self, *, kill: bool = False) -> None:
        """End every worker and the forkserver; running jobs are finished first unless `kill`. Safe to call twice.

        Jobs that have not been started go to `on_returned`, killed ones to `on_lost`.
        """
        faultpoints.hit("supervisor_stopping")
        self.boots.quiet()
        if unstarted := self.quiet():
            self._owner.on_returned(unstarted)
        for tenant in list(self.tenants()):
            if kill or tenant.state is TenantState.BOOTING:
                self.kill(tenant, KillOrder(None, None, "the pool is stopping"))
            else:
                tenant.hang_up(math.inf)
        if not kill:
            await self.wait_empty()
        try:
            await asyncio.wait_for(self.boots.wait_gone(), LEAVE_S)
        except TimeoutError:
            self.boots.kill_births()
            for tenant in list(self.tenants()):  # a thread or an exit handler of a task holds it up
                self.kill(tenant, KillOrder(None, None, "the pool is stopping"))
            await self.boots.wait_gone()
        await self.wait_empty()
        self.watch.stop()
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
        now, limit_bytes = self._loop.time(), self._options.memory_limit_bytes
        for job in jobs:
            job.queued_at = now
            if limit_bytes is not None:
                job.memory_limit_bytes = min(limit_bytes, job.memory_limit_bytes or limit_bytes)
            self.waiting.append(job)
        self._empty.clear()
        self.fill()
        if not self.slots:
            self._owner.on_change()  # somebody may give the pool a worker for this

    def capacity(self) -> Capacity:
        """Return how many more jobs of average cost the pool could use now."""
        if self._quiet:
            return Capacity(0, 0, 0)
        mean_s, free, idle, ready, now = self.costs.mean_s, 0, 0, 0, self._loop.time()
        ahead = balance.ahead(mean_s)
        for slot in self.slots:
            tenant = slot.tenant
            if tenant is not None and tenant.state is TenantState.READY and tenant.kill_order is None:
                ready += 1
                if tenant.shares is not None:
                    places = tenant.shares.places(len(tenant.jobs), tenant.budget)
                    free += places + tenant.shares.ahead(mean_s)
                    idle += places > 0  # whatever the others hold: what runs there may go on for hours
                    continue
                head_s = now - tenant.head_since if tenant.jobs else 0.0
                if head_s <= balance.HEAD_PATIENCE_S:
                    free += min(balance.room(len(tenant.jobs), tenant.load_s, mean_s), int(min(tenant.budget, 1e9)))
                if head_s <= balance.AHEAD_S:
                    free += ahead
                idle += not tenant.jobs and tenant.budget > 0
        waiting = len(self.waiting)
        if not ready and not waiting and not self.size:
            return Capacity(1, 1, 1)  # the job that comes brings a worker
        return Capacity(max(0, free - waiting), ready * (balance.room(0, 0.0, mean_s) + ahead), max(0, idle - waiting))

    def cancel(self, key: int, why: str) -> Job | None:
        """Stop a job: one that has not started is returned, a running one is killed and comes by `on_lost`."""
        return next(iter(self.cancel_many((key,), why)), None)

    def cancel_many(self, keys: Collection[int], why: str) -> list[Job]:
        """Stop jobs: those that have not started are returned, running ones are killed and come by `on_lost`.

        Keys of jobs that have ended are passed over.
        """
        wanted = frozenset(keys)
        holders, back = self._take_out(wanted)
        for tenant in holders:
            self.endings.read_all(tenant)  # a job whose result is in the pipe is not what its worker is on
            key = next((key for key in tenant.jobs if key in wanted), None)  # what is left there is running
            if key is not None:
                self.kill(tenant, KillOrder(key, None, why))
        self.note_if_empty()
        self.fill()
        return back

    def recall(self, keys: Collection[int]) -> list[Job]:
        """Return those of these jobs that have not started; what runs goes on."""
        _, back = self._take_out(frozenset(keys))
        self.note_if_empty()
        self.fill()
        return back

    def _take_out(self, wanted: frozenset[int]) -> tuple[list[Tenant], list[Job]]:
        """Take the unstarted ones of these jobs out; return them, and the workers that had any of them."""
        holders = [tenant for tenant in self.tenants() if not wanted.isdisjoint(tenant.jobs)]
        for tenant in holders:
            self.put_back(tenant.take_back())
        back = [job for job in self.waiting if job.key in wanted]
        if back:
            self.waiting = deque(job for job in self.waiting if job.key not in wanted)
        return holders, back

    def kill_running(self, why: str) -> None:
        """Kill every worker that is on a job; each job comes back by `on_lost` once its worker is dead."""
        for tenant in list(self.tenants()):
            if tenant.jobs:
                self.kill(tenant, KillOrder(None, None, why))

    def running(self) -> list[Job]:
        """Return the jobs that workers have now, the buffered ones included."""
        return [job for tenant in self.tenants() for job in tenant.jobs.values()]

    async def wait_empty(self) -> None:
        """Wait until the pool has no job, neither waiting nor running, and no death is left to report."""
        await self._empty.wait()

    def fill(self) -> None:
        """Hand waiting jobs to slots with room, idle ones first."""
        waiting, now = self.waiting, self._loop.time()
        while waiting and not self._quiet:
            tenant, enough_s = self._roomiest(waiting[0], now)
            if tenant is None:
                break
            self._hand_over_run(tenant, enough_s, now)
        self.watch.plan()

    def _hand_over_run(self, tenant: Tenant, enough_s: float, now: float) -> None:
        """Give one worker jobs until it has `enough_s` of work or no room: a choice for each would cost more."""
        waiting, cost_of = self.waiting, self.costs.of
        while True:
            job = waiting[0]
            job.cost_s = cost_of(job.task)
            try:
                if not tenant.hand_over(job, now):
                    return
            except SpillError as error:
                waiting.popleft()
                self._owner.on_unstartable([job], PoolError(f"{job.task}: {error}"))
                self.note_if_empty()
                return
            waiting.popleft()
            if not tenant.budget:
                self.renewal.want_successor(tenant.slot, "count")
            if not waiting or tenant.load_s >= enough_s or not tenant.has_room(waiting[0], now):
                return

    def _roomiest(self, job: Job, now: float) -> tuple[Tenant | None, float]:
        """Return the worker with the least work that has room, and how much work makes it another's turn."""
        best: Tenant | None = None
        least_s = second_s = math.inf
        for slot in self.slots:
            tenant = slot.tenant
            if tenant is not None and tenant.has_room(job, now):
                if tenant.load_s < least_s:
                    best, least_s, second_s = tenant, tenant.load_s, least_s
                elif tenant.load_s < second_s:
                    second_s = tenant.load_s
        return best, second_s + balance.RUN_S

    def return_unstarted(self, jobs: list[Job]) -> None:
        """Give waiting jobs back to the owner."""
        if jobs:
            gone = {job.key for job in jobs}
            self.waiting = deque(job for job in self.waiting if job.key not in gone)
            self._owner.on_returned(jobs)
            self.note_if_empty()

    def fail_waiting(self, cause: BootError) -> None:
        """Give all waiting jobs back to the owner: no worker can be started for them."""
        jobs = list(self.waiting)
        self.waiting.clear()
        self._owner.on_unstartable(jobs, cause)
        self.note_if_empty()

    def put_back(self, jobs: list[Job]) -> None:
        """Have jobs that were taken back wait before all others."""
        self.waiting.extendleft(reversed(jobs))

    def kill(self, tenant: Tenant, order: KillOrder) -> None:
        """Kill a worker; the first order is the reason that its job is told."""
        if tenant.kill_order is None:
            tenant.kill_order = order
        tenant.kill()

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback for the loop, whose exceptions break the pool visibly instead of leaving it half dead."""

        def guarded(*args: object) -> None:
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - what must not happen has happened
                self.boots.fail(error)

        return guarded

    def note_busy(self) -> None:
        """Have `wait_empty` wait."""
        self._empty.clear()

    def note_if_empty(self) -> None:
        """Let `wait_empty` return if nothing is left to do or to report."""
        if not (self.waiting or self.endings.dying or any(tenant.jobs for tenant in self.tenants())):
            self._empty.set()

    # ── size and code ───────────────────────────────────────────────────────────────────────────────────────────

    def resize(self, size: int) -> None:
        """Have `size` slots from now on. Jobs that run are finished; what only waits in a slot goes to another."""
        self.renewal.resize(size)

    def change(self, options: PoolOptions) -> None:
        """Go on with other options, but for the size: what is loaded and made from now on is as they say."""
        self._options = options
        self.watch.note_options()

    async def reload(self, check: Callable[[dict[str, Any]], object] | None = None) -> dict[str, Any]:
        """Load all code anew and put it into one slot after the other; return the new catalogue.

        Raises `BootError` if it does not load or no worker comes up with it, and what `check` raises for the new
        catalogue; the old code goes on then.
        """
        return await self.renewal.reload(check)
