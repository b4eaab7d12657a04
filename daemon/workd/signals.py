"""Unix signals as values to wait for. The supervisor is the one caller.

The handler itself is asyncio's: at the moment of the signal only its number is written to the loop's wake-up
pipe, and all that is done about it happens in an ordinary turn of the loop. Nothing here decides what a
signal means. asyncio is imported when it is used: `hold_back` comes before anything heavy.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

HANDLED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
_ENDS: Final = frozenset({signal.SIGTERM, signal.SIGINT})  # nothing is there yet that would have to end well


def hold_back() -> None:
    """Keep what comes for later, from the first moment on: until `start`, nearly all of it would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(HANDLED) - _ENDS)


def pass_by() -> None:
    """Let what comes from now on change nothing: the daemon has ended, and its exit code is to say how.

    To be called when the loop is closed. Python gives the signals that it handles back to their defaults while it ends:
    a second SIGTERM would be a death then, and a SIGQUIT would write a core.
    """
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


class SignalInbox:
    """Keeps the signals that came, in order, until somebody asks for the next."""

    def __init__(self, numbers: Iterable[signal.Signals] = HANDLED) -> None:
        import asyncio

        self._numbers = tuple(numbers)
        self._arrived: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Take the signals over, in the running loop (which has to be the main thread's)."""
        import asyncio

        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        for number in self._numbers:
            self._loop.add_signal_handler(number, self._arrived.put_nowait, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)

    def stop(self) -> None:
        """Give the signals back to Python's defaults; what has arrived stays to be read."""
        if self._loop is None:
            return
        for number in self._numbers:
            self._loop.remove_signal_handler(number)
        self._loop = None

    async def next(self) -> signal.Signals:
        """Wait for a signal. Two that come while nobody waits are two answers, in their order."""
        return await self._arrived.get()
