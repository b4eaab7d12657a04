"""What can be at the other end of stdout and stderr, each written to without waiting for it.

`O_NONBLOCK` belongs to an open file, not to a process: set on our stderr, it would be set for the shell and for all
who share it. So a pipe or a terminal is opened anew through /proc, a socket is sent to with MSG_DONTWAIT, and a pipe
that may not be opened anew (it belongs to another user) is given what it has room for by splice, call by call. That is
the last choice, since each line takes a whole page of the pipe then. Files never make anybody wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from typing import Final, Protocol

_EXCERPT_BYTES: Final = 32 * 1024  # of a line on its way through our own pipe, which takes 64 KiB


class Target(Protocol):
    """One destination; a `BlockingIOError` means not now, any other `OSError` that it is broken, perhaps for ever."""

    whole: bool
    """Whether it takes a line either as a whole or not at all."""

    def write(self, data: bytes) -> int:
        """Take what fits at once; return how many bytes that were."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may fit again; False if that takes longer."""

    def close(self) -> None:
        """Give back what it has opened; the descriptor it was made for stays."""


def of_fd(fd: int) -> Target:
    """Return the target behind a descriptor; raises `OSError` where there is none."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return _Socket(fd)
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        return _reopened(fd, is_pipe=stat.S_ISFIFO(mode))
    return _Plain(fd)


def _reopened(fd: int, *, is_pipe: bool) -> Target:
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe that nobody reads any more
            raise BrokenPipeError(errno.EPIPE, "nobody reads this pipe") from error
        return _Spliced(fd) if is_pipe else _Polled(fd)
    return _Reopened(own)


def _is_writable(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


class _Plain:
    """A file, or a device like /dev/null: a write takes as long as the disk does."""

    whole = False

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def wait(self, timeout_s: float) -> bool:
        return _is_writable(self._fd, timeout_s)

    def close(self) -> None:
        """Nothing was opened."""


class _Polled(_Plain):
    """A terminal of somebody else's: asked before each write, which may still wait if others write as well."""

    def write(self, data: bytes) -> int:
        if not _is_writable(self._fd, 0):
            raise BlockingIOError
        return os.write(self._fd, data[: select.PIPE_BUF])


class _Reopened(_Plain):
    """A pipe or a terminal, as an open file of our own."""

    def close(self) -> None:
        os.close(self._fd)


class _Spliced(_Plain):
    """A pipe that we may write to and not open: lines go through a pipe of our own."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def write(self, data: bytes) -> int:
        size = os.write(self._write_fd, data[:_EXCERPT_BYTES])
        try:
            return os.splice(self._read_fd, self._fd, size, flags=os.SPLICE_F_NONBLOCK)
        finally:
            with contextlib.suppress(BlockingIOError):  # what did not fit will be offered again
                while os.read(self._read_fd, _EXCERPT_BYTES):
                    pass

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


class _Socket:
    """A stream socket, as services have that write into the journal without its native protocol."""

    whole = False

    def __init__(self, fd: int) -> None:
        timeout_s = socket.getdefaulttimeout()
        socket.setdefaulttimeout(None)  # with one, Python would set O_NONBLOCK, which is shared
        try:
            self._socket = socket.socket(fileno=os.dup(fd))
        finally:
            socket.setdefaulttimeout(timeout_s)

    def write(self, data: bytes) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def wait(self, timeout_s: float) -> bool:
        return _is_writable(self._socket.fileno(), timeout_s)

    def close(self) -> None:
        self._socket.close()
