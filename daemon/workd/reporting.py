"""What systemd is told of the daemon, and when: readiness, the status line, signs of life.

A loop of the supervisor's. It says what `vitals` knows and decides nothing but when to say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.log import get_logger
from workd.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.systemd import Notifier
    from workd.vitals import Vitals

EXTEND_S = 30.0
"""What is asked for in a start that takes long, each time that it is seen to go on."""
AFTER_DRAIN_S = 10.0
"""What ends after the deadline of a drain: the last settlements, the leases, the workers' own last words."""

_log = get_logger("workd.reporting")


class Reporter:
    """Keeps systemd, and whoever reads its status line, informed."""

    def __init__(self, notifier: Notifier, vitals: Vitals, time_left_s: Callable[[], float]) -> None:
        """Say nothing yet; `time_left_s` is what a drain that is under way may still take."""
        self._notifier = notifier
        self._vitals = vitals
        self._time_left_s = time_left_s
        self._was_ready = False
        self._owes_ready = False  # it could not be said: the manager's buffer was full
        self._reloads = False
        self._status = ""

    def reloading(self) -> None:
        """Say that a reload begins. Before the first READY=1 there is nothing to say: its end would count as one."""
        if self._was_ready:
            self._reloads = True
            self._notifier.reloading(self._vitals.status_line())

    def reloaded(self) -> None:
        """Say that the reload has ended, well or not: the daemon works either way."""
        if self._reloads:
            self._reloads = False
            self._say_ready()

    def stopping(self) -> None:
        """Say that the drain has begun."""
        self._reloads = self._owes_ready = False
        self._notifier.stopping(self._vitals.status_line())

    async def run(self) -> None:
        """Tell when we are ready and, in time, that we live; keep the status line true. Until cancelled."""
        notifier, vitals = self._notifier, self._vitals
        interval_s = min(1.0, notifier.watchdog_interval_s or 1.0)
        while True:
            vitals.sample()
            if not self._was_ready and vitals.ready().ok:
                self._was_ready = True
                self._say_ready()
                _log.info("ready", workers=vitals.details()["workers"], queues=vitals.queues)
            elif self._owes_ready:
                self._say_ready()
            self._show_status()
            if vitals.live().ok:
                if notifier.watchdog_s is not None:
                    notifier.watchdog()
                self._ask_for_time()
            await vitals.wait_change(interval_s)

    def _say_ready(self) -> None:
        said = self._notifier.ready(self._vitals.status_line())
        self._owes_ready = self._notifier.is_heard and not said

    def _show_status(self) -> None:
        line = self._vitals.status_line()
        if line != self._status and self._notifier.status(line):
            self._status = line

    def _ask_for_time(self) -> None:
        """A wait for Redis or for `resume`, or a drain before its deadline, is no reason to be killed."""
        match self._vitals.state:
            case State.DRAINING:
                left_s = self._time_left_s() + AFTER_DRAIN_S
                if left_s > 0:
                    self._notifier.extend_timeout(left_s)
            case State.BOOTING | State.RUNNING | State.QUIET if not self._was_ready:
                self._notifier.extend_timeout(EXTEND_S)
            case _:
                pass
