"""What each signal asks of the daemon. The supervisor does it; this is the one table.

TERM, INT   drain and end; a second one: the deadline is now     USR1   quiet: start nothing more, but stay
QUIT        end now                                              USR2   x-ray into the log
HUP         reload code and settings                             TTIN, TTOU   a worker more, or fewer
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from workd.signals import SignalInbox


class Daemon(Protocol):
    """Who can be told what to do. None of it blocks; what is impossible at the moment is passed over."""

    def stop(self) -> None:
        """Drain, and end; a second time, the deadline is now."""

    def stop_now(self) -> None:
        """End without waiting for what runs."""

    def reload(self) -> object:
        """Load code and settings anew."""

    def quiet(self) -> object:
        """Start nothing more."""

    def scale_by(self, workers: int) -> object:
        """Have so many workers more, or fewer."""

    def xray(self) -> None:
        """Say in the log what runs."""


class Orders:
    """The signals that come, and what is done about them."""

    def __init__(self, daemon: Daemon, inbox: SignalInbox) -> None:
        """`run` does the work; until `begin`, the daemon can do nothing but stop."""
        self._daemon = daemon
        self._inbox = inbox
        self._has_begun = False
        self._early: list[signal.Signals] = []

    def begin(self) -> None:
        """Hear that the daemon has booted: what came meanwhile is done now."""
        self._has_begun = True
        early, self._early = self._early, []
        for number in early:
            self._obey(number)

    async def run(self) -> None:
        """Obey until cancelled."""
        while True:
            self._obey(await self._inbox.next())

    def _obey(self, number: signal.Signals) -> None:
        daemon = self._daemon
        match number:
            case signal.SIGTERM | signal.SIGINT:
                daemon.stop()
            case signal.SIGQUIT:
                daemon.stop_now()
            case _ if not self._has_begun:
                self._early.append(number)
            case signal.SIGHUP:
                daemon.reload()
            case signal.SIGUSR1:
                daemon.quiet()
            case signal.SIGUSR2:
                daemon.xray()
            case signal.SIGTTIN:
                daemon.scale_by(1)
            case signal.SIGTTOU:
                daemon.scale_by(-1)
            case _:
                pass
