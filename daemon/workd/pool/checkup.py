"""What of a pool is not as it should be at a moment. Should it be so for long, its own timers or callbacks hang.

Asked by the daemon's vitals, again and again. A job that takes hours, a worker that boots slowly or dies again and
again and a forkserver that is replaced are as they should be: the pool is busy with them, and all of that has an end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from workd.pool.slot import TenantState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd.pool.core import ProcessPool
    from workd.pool.slot import Tenant

LATE_S: Final = 1.0  # more than results that are read seldom are behind


def complaints(pool: ProcessPool) -> Iterator[tuple[str, object]]:
    """Yield what is wrong now: a clause, and whom or what it is about, since the next one has a time of its own."""
    now = asyncio.get_running_loop().time()
    if now > pool.watch.due:
        yield "the pool's look at its timers", pool.watch.due
    if pool.boots.stopping:
        return
    for slot in pool.slots:
        if slot.tenant is None and not slot.making and not slot.closing:
            yield "the pool's new worker for an empty slot", (slot.index, slot.boots)
    if pool.waiting and not pool.is_quiet:
        first = pool.waiting[0]
        if any(slot.tenant is not None and slot.tenant.has_room(first, now) for slot in pool.slots):
            yield "the pool's handing over of a job to a free worker", first.key
    for tenant in pool.tenants():
        if _is_over_its_time(tenant, now - LATE_S):
            yield "the pool's end of what is over its time", (tenant.pid, tenant.done)


def _is_over_its_time(tenant: Tenant, moment: float) -> bool:
    """Say whether a worker should have been killed by then. One that was, and does not die, hangs in the kernel."""
    if tenant.shot or tenant.kill_order is not None:
        return False
    if tenant.state is TenantState.BOOTING:
        return moment > tenant.boot_deadline
    head = tenant.head
    if head is None or tenant.shares is not None or head.timeout_s is None:
        return False
    return moment > tenant.head_since + head.timeout_s
