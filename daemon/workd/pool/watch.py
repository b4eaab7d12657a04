"""The pool's timers: timeouts, memory limits, boots that take too long, jobs that wait behind others or for a slot.

A part of `core.py`, in its loop. All timers are here, in the supervisor: none needs anything from a worker to fire. One
timer handle serves all; while the pool is idle there is none.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from workd.pool import board
from workd.pool.balance import HEAD_PATIENCE_S
from workd.pool.deaths import KillOrder
from workd.pool.memory import resident_bytes
from workd.pool.sharing import Sharing
from workd.pool.slot import Job, Tenant, TenantState

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool

RETURN_AFTER_S = 1.0  # what has waited this long for a slot goes back to the owner
SOONEST_S = HEAD_PATIENCE_S / 10  # no look comes sooner than this after another
IDLE_TICK_S = 0.25  # how often timers are looked at while nothing waits
MEMORY_TICK_S = 0.05  # how often the memory of a job with a limit is looked at
STUCK_S = 10.0  # a worker that takes no job for so long is of no use
STACKS_PATIENCE_S = 0.1  # how long a worker that is to be killed may take to say where it is
_STACKS_POLL_S = 0.005


class Watch:
    """Looks at every worker when something may be due."""

    def __init__(self, pool: ProcessPool) -> None:
        """Sleep until `plan`."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._due = math.inf  # when it fires; our own note, since uvloop's handles do not always tell
        self._sharing = Sharing(pool, self.condemn)
        self._renews = False
        self.note_options()

    def note_options(self) -> None:
        """Look at what the pool's options say of the age and growth of workers, again if they have changed."""
        options = self._pool.options
        self._renews = options.max_age_s is not None or options.max_growth_bytes is not None

    def plan(self) -> None:
        """Have the next look in time for whatever is due first."""
        now = self._loop.time()
        if self._due <= now + SOONEST_S:
            return
        due = now + IDLE_TICK_S if self._pool.waiting else math.inf
        idle = self._is_one_free(now)
        for tenant in self._pool.tenants():
            due = min(due, self._next_look(tenant, now, idle=idle))
        if due >= self._due:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._due = due
        self._handle = self._loop.call_at(due, self._pool.guarded(self._look))

    @property
    def due(self) -> float:
        """Loop time of the next look; infinity if nothing is to be looked at."""
        return self._due

    def stop(self) -> None:
        """Look no more. Safe to call twice."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._due = None, math.inf

    def _is_one_free(self, now: float) -> bool:
        """Say whether a worker has nothing to do: then nothing may wait behind a job that takes long."""
        return any(slot.tenant is not None and slot.tenant.is_free(now) for slot in self._pool.slots)

    def _next_look(self, tenant: Tenant, now: float, *, idle: bool) -> float:
        """Return when this worker's timers want to be looked at next; infinity if it has none."""
        if tenant.state is TenantState.BOOTING or tenant.state is TenantState.LEAVING:
            return now + IDLE_TICK_S
        due = self._next_renewal(tenant, now) if self._renews else math.inf
        if self._pool.waiting and now < tenant.shunned_until:
            due = min(due, tenant.shunned_until)
        if tenant.shares is not None:
            return min(due, self._sharing.next_look(tenant, tenant.shares, now))
        head = tenant.head
        if head is None:
            return due
        if tenant.socket_full or self._pool.listening.is_resting(tenant):
            return now + self._pool.listening.next_read_s(tenant)
        if len(tenant.jobs) > 1:
            due = min(due, tenant.head_since + (HEAD_PATIENCE_S if idle else RETURN_AFTER_S))
        elif tenant.claimed_key != head.key:
            due = min(due, tenant.head_since + HEAD_PATIENCE_S)
        tick_s = IDLE_TICK_S if head.memory_limit_bytes is None else MEMORY_TICK_S
        due = min(due, now + tick_s)
        if head.timeout_s is not None:
            due = min(due, tenant.head_since + head.timeout_s)
        if head.soft_timeout_s is not None and tenant.soft_key != head.key and not head.concurrency:
            due = min(due, tenant.head_since + head.soft_timeout_s)
        return max(now + SOONEST_S, due)

    def _next_renewal(self, tenant: Tenant, now: float) -> float:
        options = self._pool.options
        if tenant.state is not TenantState.READY or tenant.slot.renewing:
            return math.inf
        if options.max_growth_bytes is not None and tenant.weighed_done != tenant.done:
            return now + IDLE_TICK_S
        if options.max_age_s is not None:
            return max(now, tenant.ready_since + options.max_age_s) + HEAD_PATIENCE_S
        return math.inf

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        pool, now = self._pool, self._loop.time()
        self._handle, self._due = None, now  # so that nobody plans the next one before this one is over
        idle = self._is_one_free(now)
        for tenant in list(pool.tenants()):
            tenant.socket_full = False  # or so we may hope; the next job tells
            self._look_at(tenant, now, idle=idle)
        pool.fill()
        self._sharing.close_one(now)
        if pool.options.return_waiting:
            pool.return_unstarted([job for job in pool.waiting if now - job.queued_at > RETURN_AFTER_S])
        if pool.options.fail_waiting and pool.waiting:
            self._fail_waiting(now)
        self._due = math.inf
        self.plan()

    def _look_at(self, tenant: Tenant, now: float, *, idle: bool) -> None:
        if tenant.state is TenantState.BOOTING:
            if now > tenant.boot_deadline:
                tenant.note = f"it was not ready within {self._pool.options.boot_timeout_s:g} s"
                tenant.kill()
            return
        if now > tenant.leave_deadline:
            tenant.kill()
            return
        if self._pool.listening.is_resting(tenant):
            self._pool.endings.on_results(tenant)  # nobody else does, and nothing is due by books that are old
        if self._renews:
            self._pool.renewal.look_at(tenant, now)
        head = tenant.head
        if head is None or tenant.kill_order is not None:
            return
        if tenant.shares is not None:
            self._sharing.look_at(tenant, tenant.shares, now, idle=idle)
            return
        self._look_at_head(tenant, head, now - tenant.head_since)
        if len(tenant.jobs) > 1 or tenant.claimed_key != head.key:
            self._let_nothing_wait(tenant, head, now, idle=idle)

    def _let_nothing_wait(self, tenant: Tenant, head: Job, now: float, *, idle: bool) -> None:
        """Take back what waits behind a job that takes long, or before a worker that does not even claim it."""
        patience_s = HEAD_PATIENCE_S if idle or len(tenant.jobs) == 1 else RETURN_AFTER_S
        if now - tenant.head_since <= patience_s:
            return
        self._pool.put_back(tenant.take_back())
        unclaimed = head.key not in tenant.jobs
        tenant.claimed_key = 0 if unclaimed else head.key
        if unclaimed and tenant.strike(now) > STUCK_S:
            tenant.note = f"it took no job for {STUCK_S:g} s"
            tenant.kill()

    def _look_at_head(self, tenant: Tenant, head: Job, ran_s: float) -> None:
        """See whether a running job is over one of its limits."""
        if head.timeout_s is not None and ran_s > head.timeout_s:
            self.condemn(tenant, KillOrder(head.key, head.timeout_s, "its time was over"))
            return
        is_soft_over = head.soft_timeout_s is not None and ran_s > head.soft_timeout_s
        if (
            is_soft_over and tenant.soft_key != head.key and not head.concurrency
        ):  # a coroutine's is its loop's business
            self._remind(tenant, head)
        if head.memory_limit_bytes is not None:
            used_bytes = resident_bytes(tenant.pid)
            if used_bytes > head.memory_limit_bytes:
                order = KillOrder(head.key, None, "it used too much memory", (head.memory_limit_bytes, used_bytes))
                self.condemn(tenant, order)

    def _remind(self, tenant: Tenant, head: Job) -> None:
        """Have `SoftTimeout` raised in the job; if it has ended meanwhile, the order finds nobody."""
        self._pool.put_back(tenant.take_back())
        if tenant.head is not head:
            return  # its worker had not even claimed it: wherever it goes now, it has all its time
        tenant.soft_key = head.key
        board.write_order(tenant.channel.board_fd, head.key)
        tenant.signal(board.ORDER_SIGNAL)

    def _fail_waiting(self, now: float) -> None:
        boots = self._pool.boots
        hopeless = boots.degraded and now - boots.failing_since > self._pool.options.boot_timeout_s
        if hopeless and boots.last_error is not None and not any(tenant.is_of_use for tenant in self._pool.tenants()):
            self._pool.fail_waiting(boots.last_error)

    # ── killing, with a last question ───────────────────────────────────────────────────────────────────────────

    def condemn(self, tenant: Tenant, order: KillOrder) -> None:
        """Kill the worker of a job that may not go on, once it has said where it is, or has had its time for that.

        Unless the result of the job is in the pipe already. What comes after the question does not count: the signal
        may have cut short a call in C code that knows no interruption, and a wrong result is worse than none.
        """
        self._pool.put_back(tenant.take_back())  # so that nothing new is started and then killed with it
        self._pool.endings.read_all(tenant)
        if order.key is None or order.key not in tenant.jobs:
            return
        tenant.kill_order = order
        self._pool.listening.stop(tenant)
        tenant.channel.distrust()
        board.clear_stacks(tenant.channel.board_fd)
        if tenant.jobs[order.key].concurrency:
            board.write_order(tenant.channel.board_fd, order.key | board.WHERE)  # a suspended one is on no stack
            tenant.signal(board.ORDER_SIGNAL)
        tenant.signal(board.STACKS_SIGNAL)
        self._await_stacks(tenant, order, self._loop.time() + STACKS_PATIENCE_S, 0)

    def _await_stacks(self, tenant: Tenant, order: KillOrder, deadline: float, seen_bytes: int) -> None:
        if tenant.gone:
            return
        written_bytes = board.stacks_size(tenant.channel.board_fd)
        if self._loop.time() >= deadline or (written_bytes and written_bytes == seen_bytes):
            tenant.kill()
        else:
            again = self._pool.guarded(self._await_stacks)
            self._loop.call_later(_STACKS_POLL_S, again, tenant, order, deadline, written_bytes)
