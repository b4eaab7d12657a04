"""How the daemon is, told from memory: what health, systemd and the status line show.

Reads what the loops write about themselves; asks neither Redis nor a worker, so that it answers at once whatever
hangs. `live` is about the daemon itself, `ready` about the way from Redis to a worker.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from workd.health import Report
from workd.pool.checkup import complaints
from workd.pulse import Standstill
from workd.rates import Rate
from workd.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd.dispatcher import Dispatcher
    from workd.pool.core import ProcessPool
    from workd.pool.slot import Slot
    from workd.pulse import Pulse, Pulses

LOOP_BOUND_S = 5.0  # how late a loop may be before it counts as stuck
SETTLE_BOUND_S = 30.0  # how long what has ended may wait without any call that records something
LATELY_S = 10.0  # an idle daemon's fetch comes back every 2.5 s, and a slow server has some seconds more


class Vitals:
    """The daemon's state, for whoever asks."""

    def __init__(self, pool: ProcessPool, dispatcher: Dispatcher, pulse: Pulse | Pulses) -> None:
        """Watch these parts."""
        self._pool = pool
        self._dispatcher = dispatcher
        self._pulse = pulse
        self._loop = asyncio.get_running_loop()
        self._rate = Rate()
        self._standstill, self._unsettled = Standstill(), Standstill()
        self.state = State.BOOTING
        self.reload_trouble = ""  # why the last reload came to nothing
        self._reloads, self._is_reloading = 0, False

    @property
    def queues(self) -> list[str]:
        """The queues that are served."""
        return list(self._dispatcher.books)

    def note_reload(self, *, under_way: bool, trouble: str) -> None:
        """Hear that a reload begins, or has ended, well or not. Who asks for one waits for their count."""
        self._reloads += self._is_reloading and not under_way
        self._is_reloading = under_way
        self.reload_trouble = trouble

    def sample(self) -> None:
        """Take the figures of this moment that are shown as rates; to be called about once a second."""
        self._rate.note(self._loop.time(), self._dispatcher.settler.ended)

    def live(self) -> Report:
        """Whether every loop is within its bound. A wait for Redis under backoff is within it, and so is idleness."""
        late = [
            *self._pulse.overdue(LOOP_BOUND_S),
            *self._standstill.overdue(dict(self._complaints()), LOOP_BOUND_S),
            *self._unsettled.overdue(self._waiting_ends(), SETTLE_BOUND_S),
        ]
        reasons = [f"{what} is overdue by {late_s:.0f} s" for what, late_s in late]
        return Report(not reasons, reasons, self._details())

    def _complaints(self) -> Iterator[tuple[str, object]]:
        """Yield what may be so for a moment alone, and whom it is about."""
        if self.state is State.BOOTING:
            return  # `boot_timeout_s` bounds it
        yield from complaints(self._pool)
        dispatcher = self._dispatcher
        is_asleep = self._pulse.waits_for_room and bool(dispatcher.gate.open_queues(self.queues))
        if self.state is State.RUNNING and is_asleep and dispatcher.room():
            yield "the fetch, though there is room,", None

    def _waiting_ends(self) -> dict[str, object]:
        """Return what waits to be recorded while Redis is there, with what changes when some of it is."""
        settler = self._dispatcher.settler
        if not self._pulse.connected or settler.unsettled == settler.held:
            return {}
        return {"the recording of what has ended": (settler.batches, self._pulse.sessions)}

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

    def consuming(self) -> Report:
        """Whether it takes jobs: a fetch of this session has come back lately, or it has all that it can work on."""
        reasons, pulse, dispatcher = [], self._pulse, self._dispatcher
        if self.state is not State.RUNNING:
            reasons.append(f"the daemon is {self.state}")
        elif not dispatcher.gate.open_queues(tuple(dispatcher.books)):
            reasons.append("all queues are paused: workd queues list says by whom")
        if not pulse.connected:
            reasons.append(f"Redis: {pulse.trouble}")
        elif (silent_s := pulse.silent_s(self._loop.time())) > LATELY_S:
            since = f"for {silent_s:.0f} s" if silent_s < math.inf else "yet"
            reasons.append(f"Redis: no fetch has come back {since}")
        if dispatcher.is_choked:
            reasons.append(f"Redis does not take what has ended: {dispatcher.settler.unsettled} jobs are unrecorded")
        return Report(not reasons, reasons, self._details())

    def status_line(self) -> str:
        """Return the line that `systemctl status` shows."""
        slots, pulse = self._slots(), self._pulse
        is_consuming = pulse.consuming and self.state is State.RUNNING
        parts = [
            f"{'consuming' if is_consuming else self.state} {_counted(len(self.queues), 'queue')}",
            f"{sum(slot.ready for slot in slots)}/{len(slots)} workers",
            f"{_short(self._rate.per_s())} jobs/s",
        ]
        if (oldest_s := self._dispatcher.oldest_wait_s()) is not None:
            parts.append(f"oldest {_short(oldest_s)} s")
        parts.append(f"{_counted(len(self._pool.running()), 'job')} in hand")
        if pulse.trouble and self.state in (State.RUNNING, State.QUIET):
            parts.append(pulse.trouble)
        if self.reload_trouble:
            parts.append(f"the reload failed: {self.reload_trouble}")
        return ", ".join(parts)

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
            "reloading": self._is_reloading,
            "reloads": self._reloads,
            "reload_trouble": self.reload_trouble,
        }


def _short(number: float) -> str:
    """Write a number with a digit after the point where that tells something."""
    return f"{number:.0f}" if number >= 10 or number == 0 else f"{number:.1f}"  # noqa: PLR2004 - two digits are enough


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
