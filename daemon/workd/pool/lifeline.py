"""The pipe that ties the life of every process to the supervisor's.

The supervisor alone holds the write end. Every other process arms the read end: the kernel itself sends it SIGKILL
when the write end is gone, however the supervisor died and whatever the process is doing at that moment, C code that
holds the GIL included. `PR_SET_PDEATHSIG` is no substitute: it watches the thread that forked, not the process.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import weakref

_open_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()


class Lifeline:
    """The supervisor's end. While this object is open, its processes live."""

    def __init__(self) -> None:
        """Make the pipe. Both ends are closed on exec; a fork of this process gives up its copy of the write end."""
        self.read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        _open_lifelines.add(self)

    def close(self) -> None:
        """Let go: whoever armed the read end is killed by the kernel. Safe to call twice."""
        for fd in (self._write_fd, self.read_fd):
            if fd >= 0:
                os.close(fd)
        self._write_fd = self.read_fd = -1


def _close_in_child() -> None:
    """Give up the write ends: a child that the host program forks must not keep a dead parent's workers alive."""
    for lifeline in list(_open_lifelines):
        lifeline.close()


os.register_at_fork(after_in_child=_close_in_child)


def arm(read_fd: int) -> None:
    """Have the kernel kill this process, and the group that it leads, once the supervisor is gone.

    Call again after each fork.

    The pipe is reopened so that the descriptor is this process' own: an open file description has one owner, and
    with a shared one only the last process that armed it would be killed.
    """
    own_fd = os.open(f"/proc/self/fd/{read_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    group_id = os.getpgrp()
    # A negative owner is a process group: with the leader go the children that its tasks have started.
    fcntl.fcntl(own_fd, fcntl.F_SETOWN, -group_id if group_id == os.getpid() else os.getpid())
    fcntl.fcntl(own_fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own_fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    # The supervisor may have died before the line above: then no signal will ever come.
    poll = select.poll()
    poll.register(own_fd, 0)
    if poll.poll(0):
        os.kill(os.getpid(), signal.SIGKILL)
