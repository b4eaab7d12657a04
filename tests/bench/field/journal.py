"""How jobs report without a cost: words in shared memory to count with, and a file to append moments to.

Written in the workers of every system (so it needs nothing but the standard library), read by the driver and by the
producer. A thread that runs jobs has a small file of its own in the folder of the run, mapped into memory, so that a
report is two stores and a look at the clock. All times are those of `time.monotonic_ns`, one clock for all processes.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WORDS = 2  # jobs done; when the last one ended
SIZE_BYTES = WORDS * 8
PREFIX = "count-"
STARTS = "starts"
START = struct.Struct("=QQ")  # a job's number; when it began

_own = threading.local()


class Reporter:
    """Where one thread counts its jobs."""

    def __init__(self, folder: Path) -> None:
        """Make the thread's file."""
        path = folder / f"{PREFIX}{os.getpid()}-{threading.get_native_id()}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, SIZE_BYTES)
        self.words = memoryview(mmap.mmap(descriptor, SIZE_BYTES)).cast("Q")
        os.close(descriptor)
        self.starts = os.open(folder / STARTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def done(self) -> None:
        """Count a job that ends now."""
        words = self.words
        words[1] = time.monotonic_ns()
        words[0] += 1

    def began(self, number: int) -> None:
        """Say that the job with this number begins now."""
        os.write(self.starts, START.pack(number, time.monotonic_ns()))


def reporter(folder: Path | None = None) -> Reporter:
    """Return the reporter of the running thread; a process that was forked from one with reports gets its own."""
    own: Reporter | None = getattr(_own, "reporter", None)
    if own is None:
        if folder is None:
            from bench.field import surroundings

            folder = surroundings.folder()
        own = _own.reporter = Reporter(folder)
    return own


def _forget() -> None:
    _own.__dict__.clear()


os.register_at_fork(after_in_child=_forget)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all workers have reported so far."""

    jobs: int = 0
    last_ns: int = 0


class Reader:
    """Sums what the threads report; cheap enough to be asked every few milliseconds."""

    def __init__(self, folder: Path) -> None:
        """Read the reports in `folder`, which may come later."""
        self._folder = folder
        self._words: dict[str, memoryview] = {}

    def totals(self) -> Totals:
        """Return how many jobs are done and when the last of them ended."""
        self._find_new()
        all_words = self._words.values()
        return Totals(sum(words[0] for words in all_words), max((words[1] for words in all_words), default=0))

    def _find_new(self) -> None:
        for entry in os.scandir(self._folder):
            if entry.name.startswith(PREFIX) and entry.name not in self._words:
                with suppress(ValueError), open(entry.path, "rb") as file:  # noqa: PTH123 - ValueError: empty as yet
                    mapped = mmap.mmap(file.fileno(), SIZE_BYTES, access=mmap.ACCESS_READ)
                    self._words[entry.name] = memoryview(mapped).cast("Q")


class Starts:
    """Reads when numbered jobs began."""

    def __init__(self, folder: Path) -> None:
        """Read the file of the folder from its beginning."""
        self._descriptor = os.open(folder / STARTS, os.O_RDONLY | os.O_CREAT, 0o600)

    def next(self) -> tuple[int, int] | None:
        """Return the number and the moment of the next job that began, if there is one."""
        record = os.read(self._descriptor, START.size)
        return START.unpack(record) if len(record) == START.size else None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
