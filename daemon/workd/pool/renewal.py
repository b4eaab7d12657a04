"""Replacing workers that live: by job count, age and growth, for new code, and when the pool changes its size.

A part of `core.py`. The one rule: a worker is replaced between two jobs, and its successor is ready before it goes, so
a slot is never empty for a renewal's sake and no more jobs run at once than there are slots.

    READY ── a successor is wanted ──▶ READY, a successor boots ── successor ready ──▶ RETIRING ── idle ──▶ LEAVING

One with coroutines steps aside at once, since the longest of them may take an hour, in which its slot would do nothing
else: it ends them outside of its slot. There is one such worker for each slot at most; the next one waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from workd import faultpoints
from workd.errors import BootError, PoolClosedError
from workd.pool.deaths import KillOrder
from workd.pool.logger import log
from workd.pool.memory import resident_bytes
from workd.pool.slot import Slot, Tenant, TenantState

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.core import ProcessPool
    from workd.pool.launcher import Forkserver

LARGE_LOOKS = 3  # in a row, each after another job, make a worker large that is never seen idle
LEAVE_S = 2.0  # how long an idle worker may take to leave when asked


class Renewal:
    """Who moves out, and who moves in."""

    def __init__(self, pool: ProcessPool) -> None:
        """Prepare."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self.leaving: set[Tenant] = set()  # in no slot any more: told to leave, or to when their coroutines have ended
        self.recycled = 0
        self._indices = pool.options.size

    # ── moving in and out ───────────────────────────────────────────────────────────────────────────────────────

    def want_successor(self, slot: Slot, why: str) -> None:
        """Have this slot's worker replaced. Safe to call again."""
        if not slot.renewing and not slot.closing:
            slot.renewing = why
            self._pool.boots.want(slot)

    def move_in(self, slot: Slot, tenant: Tenant) -> None:
        """Give a worker that was just made its place."""
        if self._pool.boots.stopping or slot.closing:
            self.leaving.add(tenant)
            tenant.kill()
        elif slot.tenant is None:
            slot.tenant, slot.renewing = tenant, ""
        else:
            slot.successor = tenant

    def on_ready(self, tenant: Tenant) -> None:
        """Have the worker whose successor is ready take no more jobs."""
        slot = tenant.slot
        if slot.successor is tenant and slot.tenant is not None:
            self.retire(slot.tenant)

    def retire(self, tenant: Tenant) -> None:
        """Let a worker finish what it claimed, and nothing more."""
        if tenant.state is TenantState.BOOTING:
            self._pool.kill(tenant, KillOrder(None, None, "it is not needed any more"))
            return
        if tenant.state is TenantState.READY:
            tenant.state = TenantState.RETIRING
            self._pool.put_back(tenant.take_back())
        if not tenant.jobs:
            self.move_out(tenant)
        elif tenant.state is TenantState.RETIRING:
            self._step_aside(tenant)

    def move_out(self, tenant: Tenant) -> None:
        """Have a retired worker that is idle leave, and its successor take its place."""
        if tenant.state is not TenantState.RETIRING:
            return
        if tenant.slot.tenant is tenant:
            self._give_up_slot(tenant)
        if tenant in self.leaving:
            tenant.hang_up(self._loop.time() + LEAVE_S)

    def _give_up_slot(self, tenant: Tenant) -> None:
        faultpoints.hit("supervisor_swapping")
        slot = tenant.slot
        slot.tenant, slot.successor, slot.renewing = slot.successor, None, ""
        self.leaving.add(tenant)
        self.recycled += 1
        self._forget_if_closed(slot)
        self._pool.boots.note_change()

    def _step_aside(self, tenant: Tenant) -> None:
        """Have a retired worker give up its slot before it is idle, if it may."""
        slot = tenant.slot
        is_ready = slot.successor is not None and slot.successor.state is TenantState.READY
        if tenant.shares is not None and is_ready and all(other.slot is not slot for other in self.leaving):
            self._give_up_slot(tenant)

    def moved_out(self, tenant: Tenant) -> None:
        """Strike a dead worker off, wherever it was; its slot gets its successor or a new one."""
        slot = tenant.slot
        self.leaving.discard(tenant)
        if slot.successor is tenant:
            slot.successor = None
        elif slot.tenant is tenant:
            slot.tenant, slot.successor, slot.renewing = slot.successor, None, ""
        self._forget_if_closed(slot)
        if slot.tenant is None or slot.renewing:
            self._pool.boots.want(slot)
        if slot.tenant is not None and slot.tenant.state is TenantState.RETIRING:
            self._step_aside(slot.tenant)
        self._pool.boots.servers.tidy()

    def _forget_if_closed(self, slot: Slot) -> None:
        if slot.closing and slot.tenant is None and slot in self._pool.slots:
            self._pool.slots.remove(slot)

    # ── recycling ───────────────────────────────────────────────────────────────────────────────────────────────

    def look_at(self, tenant: Tenant, now: float) -> None:
        """See whether a worker has become too old or too large."""
        options = self._pool.options
        if tenant.state is not TenantState.READY or tenant.slot.renewing:
            return
        if options.max_age_s is not None and now - tenant.ready_since > options.max_age_s:
            self.want_successor(tenant.slot, "age")
        elif options.max_growth_bytes is not None and tenant.weighed_done != tenant.done:
            tenant.weighed_done = tenant.done
            is_large = resident_bytes(tenant.pid) - tenant.baseline_bytes > options.max_growth_bytes
            tenant.large_looks = tenant.large_looks + 1 if is_large else 0
            # What a job uses while it runs may be given back; what is there after several of them is not.
            if is_large and (not tenant.jobs or tenant.large_looks >= LARGE_LOOKS):
                self.want_successor(tenant.slot, "growth")

    # ── size ────────────────────────────────────────────────────────────────────────────────────────────────────

    def resize(self, size: int) -> None:
        """Have `size` slots from now on: new ones boot, those that go finish what their workers claimed.

        Of those that are on their way out, as many as are wanted again stay: else each time that a busy pool was made
        smaller and larger again, more jobs would run at once.
        """
        slots = self._pool.slots
        staying = [slot for slot in slots if not slot.closing]
        # Idle ones go first, or more jobs would run for a while than there are slots.
        leaving = sorted(staying, key=lambda slot: (bool(slot.tenant and slot.tenant.jobs), -slot.index))
        for slot in leaving[: max(0, len(staying) - size)]:
            slot.closing = True
            if slot.successor is not None:
                self._dismiss_successor(slot)
            if slot.tenant is not None:
                self.retire(slot.tenant)
            self._forget_if_closed(slot)
        wanted_again = [slot for slot in slots if slot.closing and self._can_stay(slot)][: max(0, size - len(staying))]
        for slot in wanted_again:
            slot.closing = False
            if slot.tenant is not None:
                slot.tenant.state = TenantState.READY
        for _ in range(size - len(staying) - len(wanted_again)):
            slot = Slot(self._indices)
            self._indices += 1
            slots.append(slot)
            self._pool.boots.want(slot)
        self._pool.fill()

    def _can_stay(self, slot: Slot) -> bool:
        """Say whether the worker of a slot that closes could go on with other jobs after the one that it is on."""
        tenant = slot.tenant
        if tenant is None or tenant.state is not TenantState.RETIRING or tenant.kill_order is not None or tenant.gone:
            return False
        is_current = tenant.forkserver is self._pool.boots.servers.current and not slot.renewing
        return is_current and tenant.budget > 0 and bool(tenant.jobs)

    def _dismiss_successor(self, slot: Slot) -> None:
        successor, slot.successor = slot.successor, None
        if successor is not None:
            self.leaving.add(successor)
            successor.kill()

    # ── rolling reload ──────────────────────────────────────────────────────────────────────────────────────────

    async def reload(self, check: Callable[[dict[str, Any]], object] | None = None) -> dict[str, Any]:
        """Load all code anew and put it into one slot after the other; return the new catalogue.

        Raises `BootError` if the new code does not load, or its first worker does not come up, and what `check` raises
        for the new catalogue; then the old code goes on. Raises `PoolClosedError` when the pool stops meanwhile.
        """
        boots = self._pool.boots
        former, catalogue = await boots.servers.load_anew()
        faultpoints.hit("supervisor_reloading")
        with boots.servers.keeping(former):
            try:
                if check is not None:
                    check(catalogue)
            except Exception:
                boots.servers.go_back(former)
                raise
            if not self._pool.size:
                self.resize(1)  # or nobody would know whether a worker comes up; who sizes the pool takes it away again
            try:
                await self._roll()
            except BootError:
                boots.servers.go_back(former)
                boots.spawn(self._roll_back())
                raise
        return catalogue

    async def _roll(self) -> None:
        """Put workers of the current forkserver into all slots. It may be replaced meanwhile: by one with its code."""
        for slot in list(self._pool.slots):
            failed_before = self._pool.boots.failed_boots
            while self._runs_other_code(slot, server := self._pool.boots.servers.current):
                if slot.successor is not None and slot.successor.forkserver is not server:
                    self._dismiss_successor(slot)
                self.want_successor(slot, "reload")
                await self._pool.boots.wait_change()
                if self._pool.boots.stopping:
                    raise PoolClosedError("the pool was stopped while it was reloaded")
                error = self._pool.boots.last_error
                if error is not None and self._pool.boots.failed_boots > failed_before:
                    raise error

    async def _roll_back(self) -> None:
        try:
            await self._roll()
        except (BootError, PoolClosedError) as error:
            log.warning("not all workers could be given their former code back", cause=str(error))

    @staticmethod
    def _runs_other_code(slot: Slot, server: Forkserver) -> bool:
        """Say whether neither the slot's worker nor a successor that is ready comes from `server`."""
        if slot.closing:
            return False
        heirs = [heir for heir in (slot.tenant, slot.successor) if heir and heir.state is TenantState.READY]
        return all(heir.forkserver is not server for heir in heirs)
