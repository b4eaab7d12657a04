"""The process of a forkserver: an interpreter of its own, or a fork of this program.

Used by `launcher.py` alone. Imports nothing heavy, since it runs before anything else does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING, Final, NoReturn

from workd.pool.interpreter import command
from workd.pool.streams import flush_streams

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection

    from workd.pool.child.worker import Runner

_POLL_S: Final = 0.002
_EXIT_PATIENCE_S: Final = 1.0  # between the end of a process' socket and its exit status


class ServerProcess:
    """A child of this process that is to leave by itself, and is killed where it does not."""

    def __init__(self, process: subprocess.Popen[bytes] | ForkedProcess) -> None:
        """Take over what was started."""
        self._process = process
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs, or nobody has asked."""
        return self._process.returncode

    def poll(self) -> None:
        """Take its exit status if it has ended."""
        self._process.poll()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    async def gone(self, patience_s: float) -> None:
        """Wait for its end, and kill it if it does not leave in time."""
        import asyncio

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._ended()
        self._process.kill()
        await self._ended()

    def wait(self, patience_s: float) -> None:
        """Do the same where there is no loop."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self._process.kill()
        self._process.wait()

    async def how_it_ended(self) -> str:
        """Return a clause that can follow 'the process', once its socket has ended."""
        import asyncio

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_PATIENCE_S):
                await self._ended()
        code = self._process.returncode
        if code is None:
            return "closed its connection to the supervisor"
        return f"left with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"

    async def _ended(self) -> None:
        import asyncio

        while self._process.poll() is None:  # noqa: ASYNC110 - a child's end sets no event here
            await asyncio.sleep(_POLL_S)


def start_interpreter(fds: tuple[int, int], hidden_variables: Collection[str]) -> ServerProcess:
    """Start a forkserver that serves the first of `fds` and hangs on the second."""
    process = subprocess.Popen(
        [*command(), *map(str, fds)],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in hidden_variables},
        start_new_session=True,
    )
    return ServerProcess(process)


def fork_this_process(runner: Runner, ours: socket.socket, theirs: socket.socket, lifeline_fd: int) -> ServerProcess:
    """Make a forkserver of a fork of this program; it closes `ours`, serves `theirs` and hangs on `lifeline_fd`."""
    # A worker's libraries, which only a fork needs here. All of them: what another thread is about to import at the
    # moment of the fork would be waited for in the child, and the thread is not there. And logging, which hooks into
    # forks: if a thread imports it during another's, Python says so on stderr, and holds its lock while the next forks.
    import logging  # noqa: F401

    import workd.pool.child.worker  # noqa: F401
    from workd.pool.child.forkserver import become_forkserver

    own_lifeline_fd = os.dup(lifeline_fd)  # a fork closes the lifelines that it finds

    def become() -> NoReturn:
        ours.close()
        become_forkserver(theirs, own_lifeline_fd, runner)

    flush_streams()  # what a buffer holds at the fork would be written twice
    try:
        return ServerProcess(ForkedProcess(become))
    finally:
        os.close(own_lifeline_fd)


class ForkedProcess:
    """A fork of this program, with the few words of `subprocess.Popen` that `ServerProcess` uses."""

    def __init__(self, become: Callable[[], NoReturn]) -> None:
        """Fork; the child calls `become`."""
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            become()
        self._pidfd = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Return the exit code if the process has ended, as `Popen.poll` does."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the host program waits for all its children by itself
                self._end(0)
            else:
                if pid:
                    self._end(os.waitstatus_to_exitcode(status))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, as `Popen.wait` does."""
        if self.returncode is None:
            select.select([self._pidfd], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("forkserver", timeout or 0.0)
        return code

    def kill(self) -> None:
        """Kill the process, if it lives."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _end(self, code: int) -> None:
        self.returncode = code
        os.close(self._pidfd)
