"""What systemd is told of the daemon, and when: readiness, the status line, signs of life.

A loop of the supervisor's. It says what `vitals` knows and decides nothing but when to say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.log import get_logger
from workd.states import State

if TYPE_CHECKING:
    from workd.systemd import Notifier
    from workd.vitals import Vitals

EXTEND_S = 30.0

_log = get_logger("workd.reporting")


class Reporter:
    """Keeps systemd, and whoever reads its status line, informed."""

    def __init__(self, notifier: Notifier, vitals: Vitals) -> None:
        """Say nothing yet."""
        self._notifier = notifier
        self._vitals = vitals
        self._said_ready = False
        self._reloads = False

    def reloading(self) -> None:
        """Say that a reload begins. Before the first READY=1 there is nothing to say: it would count as one."""
        if self._said_ready:
            self._reloads = True
            self._notifier.reloading(self._vitals.status_line())

    def reloaded(self) -> None:
        """Say that the reload has ended, well or not: the daemon works either way."""
        if self._reloads:
            self._reloads = False
            self._notifier.ready(self._vitals.status_line())

    def stopping(self) -> None:
        """Say that the drain has begun."""
        self._reloads = False
        self._notifier.stopping(self._vitals.status_line())

    async def run(self) -> None:
        """Tell when we are ready and, in time, that we live; keep the status line true. Until cancelled."""
        notifier, vitals = self._notifier, self._vitals
        interval_s = min(1.0, notifier.watchdog_interval_s or 1.0)
        status = ""
        while True:
            if not self._said_ready and vitals.ready().ok:
                self._said_ready = True
                notifier.ready()
                details = vitals.details()
                _log.info("ready", workers=details["workers"], queues=vitals.queues)
            if (line := vitals.status_line()) != status:
                status = line
                notifier.status(line)
            if vitals.live().ok:
                notifier.watchdog()
                if not self._said_ready or vitals.state != State.RUNNING:
                    notifier.extend_timeout(EXTEND_S)  # a wait for Redis, or a long drain, is no reason to be killed
            await vitals.wait_change(interval_s)
