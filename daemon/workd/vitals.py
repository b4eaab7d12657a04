"""How the daemon is, told from memory: what health, systemd and the status line show.

Reads what the loops write about themselves; asks neither Redis nor a worker, so that it answers at once whatever
hangs. `live` is about the daemon itself, `ready` about the way from Redis to a worker.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from workd.health import Report
from workd.states import State

if TYPE_CHECKING:
    from workd.dispatcher import Dispatcher
    from workd.pool.core import ProcessPool
    from workd.pool.slot import Slot
    from workd.pulse import Pulse, Pulses

LOOP_BOUND_S = 5.0  # how late a loop may be before it counts as stuck


class Vitals:
    """The daemon's state, for whoever asks."""

    def __init__(self, pool: ProcessPool, dispatcher: Dispatcher, pulse: Pulse | Pulses) -> None:
        """Watch these parts."""
        self._pool = pool
        self._dispatcher = dispatcher
        self._pulse = pulse
        self._loop = asyncio.get_running_loop()
        self.state = State.BOOTING
        self.reload_trouble = ""  # why the last reload came to nothing

    @property
    def queues(self) -> list[str]:
        """The queues that are served."""
        return list(self._dispatcher.books)

    def live(self) -> Report:
        """Whether every loop is within its bound. A wait for Redis under backoff is within it, and so is idleness."""
        reasons = [f"{what} is overdue by {late_s:.0f} s" for what, late_s in self._pulse.overdue(LOOP_BOUND_S)]
        return Report(not reasons, reasons, self._details())

    def ready(self) -> Report:
        """Whether a job pushed now would be run: Redis answers, the last fetch came back, all slots are full."""
        reasons, pulse, pool = [], self._pulse, self._pool
        slots = self._slots()
        ready = sum(slot.ready for slot in slots)
        if self.state is State.QUIET:
            reasons.append("the daemon is quiet: it starts nothing until `workd resume`, or a restart")
        elif self.state is not State.RUNNING:
            reasons.append(f"the daemon is {self.state}")
        if not pulse.connected:
            reasons.append(f"Redis: {pulse.trouble}")
        elif not pulse.consuming:
            reasons.append("Redis: no fetch has come back yet")
        if ready < len(slots):
            again = ", again and again" if pool.boots.degraded else ""
            cause = f": {pool.boots.last_error}{again}" if pool.boots.last_error is not None else ""
            reasons.append(f"{ready} of {len(slots)} workers are ready{cause}")
        if self._dispatcher.settler.held:
            reasons.append(f"Redis refuses to record {self._dispatcher.settler.held} outcomes; the log names them")
        return Report(not reasons, reasons, self._details())

    def status_line(self) -> str:
        """Return the line that `systemctl status` shows."""
        slots = self._slots()
        ready = sum(slot.ready for slot in slots)
        queues = len(self._dispatcher.books)
        doing = "consuming" if self._pulse.consuming and self.state is State.RUNNING else self.state
        trouble = f", {self._pulse.trouble}" if self._pulse.trouble and self.state is State.RUNNING else ""
        line = f"{doing} {queues} queue{'s' if queues != 1 else ''}, {ready}/{len(slots)} workers"
        jobs = len(self._pool.running())
        trouble += f", the reload failed: {self.reload_trouble}" if self.reload_trouble else ""
        return f"{line}, {jobs} job{'s' if jobs != 1 else ''} in hand{trouble}"

    def _slots(self) -> list[Slot]:
        """Return the slots that are to have a worker, not those that end with the job they are on."""
        return [slot for slot in self._pool.slots if not slot.closing]

    async def wait_change(self, timeout_s: float) -> None:
        """Wait until the state of the pool changes, or for a while."""
        changed = self._dispatcher.state_changed
        changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await changed.wait()
        except TimeoutError:
            return

    def details(self) -> dict[str, object]:
        """Return the daemon's figures."""
        return self._details()

    def _details(self) -> dict[str, object]:
        dispatcher, pool, slots = self._dispatcher, self._pool, self._slots()
        return {
            "state": str(self.state),
            "workers_ready": sum(slot.ready for slot in slots),
            "workers": len(slots),
            "jobs_in_hand": len(pool.running()),
            "unsettled": dispatcher.settler.unsettled,
            "ended": dispatcher.settler.ended,
            "lost_replies": dispatcher.settler.lost_replies,
            "crashes": dispatcher.crashes,
            "dead_letters": dispatcher.deaths,
            "sessions": self._pulse.sessions,
            "warnings": list(self._pulse.warnings),
            "reload_trouble": self.reload_trouble,
        }
