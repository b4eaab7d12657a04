"""The worker's end of its result channel: a `multiprocessing.SimpleQueue` that carries frames.

Made inside the worker, so that its lock is shared by nobody but this worker's own threads; the read end goes to the
supervisor through the slot's socket. The supervisor never calls `get()`, which blocks in half a frame and unpickles:
it reads the descriptor itself (`channel.py`).
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from multiprocessing.queues import SimpleQueue
from typing import Any, Final

from workd import faultpoints

_LARGE_PIPE_BYTES: Final = 1024 * 1024  # what the supervisor reads in one turn


class _ThreadsOnly:
    """Gives the queue locks for the threads of one process: no semaphore in /dev/shm that a kill could leave there."""

    Lock = threading.Lock


class ResultQueue(SimpleQueue):  # type: ignore[type-arg]  # not subscriptable at run time before 3.12
    """A result queue of one worker."""

    # What SimpleQueue keeps its pipe and lock in; the same names in CPython 3.8 to 3.14.
    _reader: Any
    _writer: Any
    _wlock: Any

    def __init__(self) -> None:
        """Make the pipe and the lock."""
        super().__init__(ctx=_ThreadsOnly())
        self._write_fd: int = self._writer.fileno()
        self._is_enlarged = False

    def detach_reader(self) -> int:
        """Return a descriptor of the read end; this process keeps none."""
        fd = os.dup(self._reader.fileno())
        self._reader.close()
        return fd

    def put_frame(self, frame: bytes) -> None:
        """Write one frame whole, blocking while the pipe is full. Other threads of the worker wait their turn."""
        with self._wlock:
            written = faultpoints.tear("mid_result", self._write_fd, frame) or os.write(self._write_fd, frame)
            if written < len(frame):
                self._write_whole(memoryview(frame)[written:])

    def put_large_frame(self, head: bytes, payload: bytes) -> None:
        """Do the same without making one piece of the two; in a larger pipe, if the kernel gives it."""
        with self._wlock:
            if not self._is_enlarged:
                self._is_enlarged = True
                with suppress(OSError):  # a user may have so much in pipes and no more
                    fcntl.fcntl(self._write_fd, fcntl.F_SETPIPE_SZ, _LARGE_PIPE_BYTES)
            self._write_whole(memoryview(head))
            written = faultpoints.tear("mid_result", self._write_fd, payload)
            self._write_whole(memoryview(payload)[written:])

    def _write_whole(self, rest: memoryview) -> None:
        while rest:
            rest = rest[os.write(self._write_fd, rest) :]
