"""The pool's timers: timeouts, boots that take too long, jobs that wait behind others or for a slot.

A part of `core.py`, in its loop. All timers are here, in the supervisor: none needs anything from a worker to fire. One
timer handle serves all; while the pool is idle there is none.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from workd.pool.balance import HEAD_PATIENCE_S
from workd.pool.deaths import KillOrder
from workd.pool.slot import Job, Slot, Tenant, TenantState

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool

RETURN_AFTER_S = 1.0  # what has waited this long for a slot goes back to the owner
IDLE_TICK_S = 0.25  # how often timeouts are looked at while nothing waits


class Watch:
    """Looks at every slot when something may be due."""

    def __init__(self, pool: ProcessPool) -> None:
        """Sleep until `plan`."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def plan(self) -> None:
        """Have the next look in time for whatever is due first."""
        now = self._loop.time()
        due = now + HEAD_PATIENCE_S if self._pool.waiting else math.inf
        for slot in self._pool.slots:
            if slot.tenant is not None:
                due = min(due, slot.tenant.next_look(now, HEAD_PATIENCE_S, IDLE_TICK_S))
        if due == math.inf:
            return
        if self._handle is not None:
            if self._handle.when() <= due:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(due, self._look)

    def stop(self) -> None:
        """Look no more. Safe to call twice."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        self._handle = None
        pool, now = self._pool, self._loop.time()
        idle = any(slot.ready and slot.tenant and not slot.tenant.jobs for slot in pool.slots)
        for slot in pool.slots:
            if slot.tenant is not None:
                slot.tenant.socket_full = False  # or so we may hope; the next job tells
                self._look_at(slot, slot.tenant, now, idle=idle)
        pool.fill()
        if pool.options.return_waiting:
            pool.return_unstarted([job for job in pool.waiting if now - job.queued_at > RETURN_AFTER_S])
        self.plan()

    def _look_at(self, slot: Slot, tenant: Tenant, now: float, *, idle: bool) -> None:
        if tenant.state is TenantState.BOOTING:
            if now > tenant.boot_deadline:
                tenant.note = f"it was not ready within {self._pool.options.boot_timeout_s:g} s"
                tenant.kill()
            return
        head = tenant.head
        if head is None or tenant.kill_order is not None:
            return
        ran_s = now - tenant.head_since
        if head.timeout_s is not None and ran_s > head.timeout_s:
            self._time_out(slot, tenant, head, head.timeout_s)
        elif len(tenant.jobs) > 1 and ran_s > (HEAD_PATIENCE_S if idle else RETURN_AFTER_S):
            self._pool.put_back(tenant.take_back())

    def _time_out(self, slot: Slot, tenant: Tenant, head: Job, timeout_s: float) -> None:
        """Kill the worker of a job whose time is over, unless its result is already in the pipe."""
        self._pool.put_back(tenant.take_back())  # so that nothing new is started and then killed with it
        self._pool.on_results(slot)
        if tenant.head is head:
            self._pool.kill(tenant, KillOrder(head.key, timeout_s, "its time was over"))
