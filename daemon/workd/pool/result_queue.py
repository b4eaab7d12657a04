"""The worker's end of its result channel: a `multiprocessing.SimpleQueue` that carries frames.

Made inside the worker, so that its lock is shared by nobody but this worker's own threads; the read end goes to the
supervisor through the slot's socket. The supervisor never calls `get()`, which blocks in half a frame and unpickles:
it reads the descriptor itself (`channel.py`).
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.queues import SimpleQueue
from typing import Any


class ResultQueue(SimpleQueue):  # type: ignore[type-arg]  # not subscriptable at run time before 3.12
    """A result queue of one worker."""

    # What SimpleQueue keeps its pipe and lock in; the same names in CPython 3.8 to 3.14.
    _reader: Any
    _writer: Any
    _wlock: Any

    def __init__(self) -> None:
        """Make the pipe and the lock. The fork context's semaphores have no name, so a kill leaves none behind."""
        super().__init__(ctx=multiprocessing.get_context("fork"))
        self._write_fd: int = self._writer.fileno()

    def detach_reader(self) -> int:
        """Return a descriptor of the read end; this process keeps none."""
        fd = os.dup(self._reader.fileno())
        self._reader.close()
        return fd

    def put_frame(self, frame: bytes) -> None:
        """Write one frame whole, blocking while the pipe is full. Other threads of the worker wait their turn."""
        with self._wlock:
            written = os.write(self._write_fd, frame)
            if written < len(frame):
                rest = memoryview(frame)[written:]
                while rest:
                    rest = rest[os.write(self._write_fd, rest) :]
