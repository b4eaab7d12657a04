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

    async def run(self) -> None:
        """Tell when we are ready and, in time, that we live; keep the status line true. Until cancelled."""
        notifier, vitals = self._notifier, self._vitals
        interval_s = min(1.0, notifier.watchdog_interval_s or 1.0)
        said_ready, status = False, ""
        while True:
            if not said_ready and vitals.ready().ok:
                said_ready = True
                notifier.ready()
                details = vitals.details()
                _log.info("ready", workers=details["workers"], queues=vitals.queues)
            if (line := vitals.status_line()) != status:
                status = line
                notifier.status(line)
            if vitals.live().ok:
                notifier.watchdog()
                if not said_ready or vitals.state != State.RUNNING:
                    notifier.extend_timeout(EXTEND_S)  # a wait for Redis, or a long drain, is no reason to be killed
            await vitals.wait_change(interval_s)
