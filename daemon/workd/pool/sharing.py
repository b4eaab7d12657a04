"""Workers that run several jobs at once: their timers, and who is to blame when one of them dies.

A part of `core.py`, asked by `watch.py` and `endings.py`. The worker reads its packets as they come, so each of its
jobs runs from its hand-over on; only a worker whose loop is blocked leaves them unclaimed, and then they go elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workd.pool.balance import HEAD_PATIENCE_S
from workd.pool.channel import SpillError
from workd.pool.deaths import Killed, KillOrder, Suspected, cause
from workd.pool.memory import resident_bytes
from workd.pool.shares import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workd.pool.core import ProcessPool
    from workd.pool.deaths import Lost, WorkerDied
    from workd.pool.shares import Shares
    from workd.pool.slot import Job, Tenant

SOONEST_S: Final = HEAD_PATIENCE_S / 10  # no look comes sooner than this after another
MEMORY_TICK_S: Final = 0.05
HOLD_AFTER_S: Final = 0.25  # a job that is to run alone has waited so long when a worker is closed for it
HOLD_S: Final = 10.0  # … and goes back to the owner when it has waited so long: another daemon may have a worker
STUCK_S: Final = 10.0  # a worker that takes no job for so long, and has none, is of no use


class Sharing:
    """Looks at workers that have several heads."""

    def __init__(self, pool: ProcessPool, condemn: Callable[[Tenant, KillOrder], None]) -> None:
        """`condemn` kills a worker for one job that may not go on."""
        self._pool = pool
        self._condemn = condemn

    def next_look(self, tenant: Tenant, shares: Shares, now: float) -> float:
        """Return when this worker wants to be looked at next."""
        due = min(shares.due, shares.unsure_since + HEAD_PATIENCE_S)
        if shares.tail is not None:
            due = min(due, now + HOLD_AFTER_S)
        if tenant.socket_full:
            due = min(due, now + HEAD_PATIENCE_S)
        if shares.limited:
            due = min(due, now + MEMORY_TICK_S)
        return max(now + SOONEST_S, due)

    def look_at(self, tenant: Tenant, shares: Shares, now: float, *, idle: bool) -> None:
        """See whether a job is over one of its limits, and whether the worker takes what it is given."""
        if shares.tail is not None and (idle or now - shares.tail.queued_at > HOLD_S):
            self._pool.put_back(tenant.take_back())
        if now - shares.unsure_since >= HEAD_PATIENCE_S:
            self._take_back_unclaimed(tenant, shares, now)
        if now > shares.due:
            running = [job for job in tenant.jobs.values() if job is not shares.tail]
            first = min(running, key=deadline)
            if now > deadline(first):
                self._condemn(tenant, KillOrder(first.key, first.timeout_s, "its time was over"))
                return
            shares.plan(running)
        if shares.limited:
            self._weigh(tenant, shares)

    def _take_back_unclaimed(self, tenant: Tenant, shares: Shares, now: float) -> None:
        """Have others run what the worker has not even claimed: its loop is blocked, or it is stopped."""
        tail = shares.tail
        back = tenant.take_back()
        shares.unsure_since = math.inf  # what is left, it has claimed
        self._pool.put_back(back)
        if all(job is tail for job in back):
            return
        if tenant.strike(now) > STUCK_S and not tenant.jobs:
            tenant.note = f"it took no job for {STUCK_S:g} s"
            tenant.kill()

    def close_one(self, now: float) -> None:
        """Have the worker with the fewest jobs take no more of them, if one that is to run alone has waited for long.

        It waits in that worker's socket: while coroutines come and go, no worker would ever be without one.
        """
        waiting = self._pool.waiting
        if not waiting or waiting[0].concurrency > 1 or not HOLD_AFTER_S < now - waiting[0].queued_at < HOLD_S:
            return
        tenants = [slot.tenant for slot in self._pool.slots if slot.tenant is not None]
        if any(tenant.has_room(waiting[0], now) for tenant in tenants):
            return
        fit = [tenant for tenant in tenants if tenant.has_room_for_tail(now)]
        if fit:
            self._hand_behind(min(fit, key=lambda tenant: len(tenant.jobs)), waiting[0], now)

    def _hand_behind(self, tenant: Tenant, job: Job, now: float) -> None:
        job.cost_s = self._pool.costs.of(job.task)
        with suppress(SpillError):  # who hands it over in the ordinary way, or back, will say so
            if tenant.hand_over(job, now):
                self._pool.waiting.popleft()
                if not tenant.budget:
                    self._pool.renewal.want_successor(tenant.slot, "count")

    def _weigh(self, tenant: Tenant, shares: Shares) -> None:
        running = [job for job in tenant.jobs.values() if job is not shares.tail]
        limits = [(job.memory_limit_bytes, job.key) for job in running if job.memory_limit_bytes]
        if not limits:
            return
        limit_bytes, key = min(limits)
        used_bytes = resident_bytes(tenant.pid)
        if used_bytes > limit_bytes:
            order = KillOrder(key, None, "it used too much memory", (limit_bytes, used_bytes))
            self._condemn(tenant, order)


def losses(tenant: Tenant, died: WorkerDied, died_at: float) -> Iterator[tuple[Job, Lost]]:
    """Yield each job that a dead worker had claimed, and what its death means for it.

    Of a crash with several jobs nobody knows whose doing it was, nor whose memory it was: all are suspected, none is
    charged. A timeout is the doing of the one whose time was over.
    """
    jobs, order = list(tenant.jobs.values()), tenant.kill_order
    for job in jobs:
        own = dataclasses.replace(died, ran_s=died_at - job.since)
        if len(jobs) == 1:
            yield job, cause(order, job.key, own)
        elif order is None or order.memory_bytes is not None:
            yield job, Suspected(len(jobs) - 1, own)
        elif order.key in (None, job.key):
            yield job, cause(order, job.key, own)
        else:
            yield job, Killed(f"it shared its worker with a job that was killed: {order.why}", own)
