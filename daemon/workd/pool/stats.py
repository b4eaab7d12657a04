"""What there is to know about a pool at one moment, as data. Made by `ProcessPool.stats`, for people and programs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workd.pool.memory import resident_bytes
from workd.pool.slot import TenantState

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool
    from workd.pool.slot import Tenant


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker. `state` is booting, ready, retiring or leaving; `age_s` counts from when it was ready."""

    slot: int
    pid: int
    state: str
    jobs_done: int
    held: int  # jobs that it runs or has buffered
    age_s: float
    rss_bytes: int  # resident memory, what it shares with the others included


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One pool. Counters count from its start."""

    size: int
    ready: int  # slots with a worker that can take jobs
    busy: int  # slots whose worker is on a job
    waiting: int  # jobs that no worker has yet
    running: int  # jobs that workers run or have buffered
    started: int  # workers that were made
    deaths: int  # workers that were not told to leave
    recycled: int  # workers that were replaced while they lived
    boot_failures: int
    degraded: str  # why workers fail to boot, again and again; empty: they do not
    workers: tuple[WorkerStats, ...]


def describe(pool: ProcessPool) -> PoolStats:
    """Return what there is to know about `pool` now."""
    tenants, boots = list(pool.tenants()), pool.boots
    slots = [slot for slot in pool.slots if not slot.closing]
    cause = boots.last_error.cause if boots.degraded and boots.last_error is not None else ""
    now = asyncio.get_running_loop().time()
    return PoolStats(
        size=len(slots),
        ready=sum(slot.ready for slot in slots),
        busy=sum(bool(slot.tenant and slot.tenant.jobs) for slot in pool.slots),
        waiting=len(pool.waiting),
        running=sum(len(tenant.jobs) for tenant in tenants),
        started=boots.started,
        deaths=pool.endings.deaths,
        recycled=pool.renewal.recycled,
        boot_failures=boots.failed_boots,
        degraded=cause,
        workers=tuple(_describe_worker(tenant, now) for tenant in tenants),
    )


def _describe_worker(tenant: Tenant, now: float) -> WorkerStats:
    return WorkerStats(
        slot=tenant.slot.index,
        pid=tenant.pid,
        state=tenant.state.name.lower(),
        jobs_done=tenant.done,
        held=len(tenant.jobs),
        age_s=0.0 if tenant.state is TenantState.BOOTING else now - tenant.ready_since,
        rss_bytes=resident_bytes(tenant.pid),
    )
