"""One way to run the introduction's example, as a program of its own.

    python -m workd.demo.ways WAY REDIS_URL REPORT_FD

Started by `race`, once for each way. It gets ready, says so on REPORT_FD, waits for a line on its standard input,
and reports with one JSON object. Its standard output is for what `f` prints alone.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from workd_tasks.samples import slow_square as f

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[], list[int]]

NUMBERS: Final = (1, 2, 3, 4)
WORKERS: Final = 4
READY: Final = "ready"
_PR_SET_PDEATHSIG: Final = 1


@contextmanager
def plain_loop(url: str) -> Iterator[Run]:  # noqa: ARG001 - all ways are called alike
    """One after the other, in this process."""
    yield lambda: [f(x) for x in NUMBERS]


@contextmanager
def standard_pool(url: str) -> Iterator[Run]:  # noqa: ARG001
    """The standard library's pool."""
    with multiprocessing.Pool(WORKERS, _end_with_parent) as pool:
        yield lambda: pool.map(f, NUMBERS)


def _end_with_parent() -> None:
    """Have the kernel end this worker with its parent: the standard library's live on for ever when that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def workd_pool(url: str) -> Iterator[Run]:  # noqa: ARG001
    """The pool of workd, without Redis."""
    from workd import Pool

    with Pool(WORKERS) as pool:
        yield lambda: pool.map(f, NUMBERS)


@contextmanager
def redis_pool(url: str) -> Iterator[Run]:
    """A producer: the daemon's workers run the four jobs."""
    from workd import RedisPool

    with RedisPool(url) as pool:
        yield lambda: pool.map(f, NUMBERS)


LOOP: Final = "a plain loop"
DAEMON: Final = "Redis and the daemon"
WAYS: Final = {
    LOOP: plain_loop,
    f"multiprocessing.Pool({WORKERS})": standard_pool,
    f"workd.Pool({WORKERS})": workd_pool,
    DAEMON: redis_pool,
}


def main(way: str, url: str, report_fd: int) -> None:
    """Run one way when told to."""
    with os.fdopen(report_fd, "w", encoding="utf-8") as report, WAYS[way](url) as run:
        print(READY, file=report, flush=True)
        if not sys.stdin.readline():  # the demo is gone
            return
        began_s = time.perf_counter()
        values = run()
        took_s = time.perf_counter() - began_s
        json.dump({"values": values, "seconds": took_s}, report)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
