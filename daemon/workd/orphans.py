"""What process 1 of a container owes: to reap the processes that lost their parents.

A task that is killed, or that leaves a process behind, makes orphans. The kernel gives them to process 1, and keeps
each, once it has ended, until process 1 has asked how. In a container that is the daemon, and without this every one of
them stays as a zombie until no more processes can be made. Elsewhere an init does it, and nothing here runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

from workd.log import get_logger

SWEEP_S: Final = 5.0
"""Between two looks. Whoever started a process of ours takes its status long before the second."""

_log = get_logger(__name__)


def watching() -> set[asyncio.Future[None]]:
    """Begin to look after orphans, if this is process 1; what is returned ends by an exception alone."""
    return {asyncio.ensure_future(_sweep_again_and_again())} if os.getpid() == 1 else set()


async def _sweep_again_and_again() -> None:
    sweeper = Sweeper()
    while True:
        await asyncio.sleep(SWEEP_S)
        if reaped := sweeper.sweep():
            _log.debug("reaped orphans", count=reaped)


class Sweeper:
    """Reaps children that have ended and that nobody has asked for since the sweep before.

    A child that somebody in this process waits for, such as a forkserver, is never there twice: its owner is quicker.
    """

    def __init__(self) -> None:
        self._ended: frozenset[int] = frozenset()

    def sweep(self) -> int:
        """Look once; returns how many were reaped."""
        ended = frozenset(pid for pid in _children() if _has_ended(pid))
        unclaimed = ended & self._ended
        self._ended = ended - unclaimed
        return sum(map(_reap, unclaimed))


def _children() -> set[int]:
    """Return the pids of this process' children: of all of its threads, since orphans go to any."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread is gone
            found.update(map(int, path.read_bytes().split()))
    return found


def _has_ended(pid: int) -> bool:
    """Say whether a child waits to be reaped, and leave it so."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
