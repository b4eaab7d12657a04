"""Locks, queues and shared values among the initializer's arguments: how they get to the workers.

`multiprocessing` lets such objects be pickled only while it starts a process, and asks an object that stands for that
process to take the descriptors along. Here it is a `Handover`: it keeps duplicates open for the pool's life, and a
worker opens its own through /proc, whenever it is started. (Semaphores have names, and need none of this.)
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from multiprocessing import context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class HandedFd:
    """A descriptor, as it is pickled: what `multiprocessing.reduction.DupFd` is elsewhere."""

    def __init__(self, pid: int, number: int, flags: int) -> None:
        """Stand for descriptor `number` of process `pid`, open with `flags`."""
        self._path = f"/proc/{pid}/fd/{number}"
        self._flags = flags

    def detach(self) -> int:
        """Return a descriptor of this process' own."""
        return os.open(self._path, self._flags | os.O_CLOEXEC)


class Handover:
    """What the preparation of one pool's workers holds open."""

    def __init__(self) -> None:
        """Nothing is held yet."""
        self._fds: list[int] = []

    @contextmanager
    def pickling(self) -> Iterator[None]:
        """Stand for the process that is being started while this thread pickles."""
        before = context.get_spawning_popen()
        context.set_spawning_popen(self)  # type: ignore[arg-type]  # it asks for the two methods below and no more
        try:
            yield
        finally:
            context.set_spawning_popen(before)

    def duplicate_for_child(self, fd: int) -> int:
        """Keep a duplicate and return it (called by `multiprocessing`)."""
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            msg = "a socket or a duplex Pipe can't be given to workers that are not forks: use Pipe(duplex=False)"
            raise TypeError(msg)
        self._fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))
        return self._fds[-1]

    def DupFd(self, fd: int) -> HandedFd:  # noqa: N802 - the name that multiprocessing calls
        """Return what is pickled for a duplicate."""
        return HandedFd(os.getpid(), fd, fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE)

    def close(self) -> None:
        """Let go: no worker will be started any more. Safe to call twice."""
        while self._fds:
            os.close(self._fds.pop())
