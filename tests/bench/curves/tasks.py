"""The tasks that are measured. Loaded by daemons as `bench.curves.tasks`; imports nothing heavy.

Every task reports to a ledger in the folder that BENCH_FOLDER names.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from bench.curves.ledger import Ledger
from workd_tasks import task

FOLDER = "BENCH_FOLDER"
HELD_S = 600.0


@functools.cache
def _ledger() -> Ledger:
    """Return this worker's own; it is opened by the worker's first job, never in the process that forks."""
    return Ledger(Path(os.environ[FOLDER]))


def spin(cpu_s: float) -> float:
    """Use so much CPU time of this thread, and return how much it was."""
    start = time.thread_time()
    while (spent_s := time.thread_time() - start) < cpu_s:
        pass
    return spent_s


@task
def noop() -> None:
    """Do nothing."""
    _ledger().note(time.monotonic_ns())


@task
def same(number: int) -> int:
    """Return a number."""
    return number


@task
def measure(text: str) -> int:
    """Return how long a text is."""
    start_ns = time.monotonic_ns()
    length = len(text)
    _ledger().note(start_ns)
    return length


@task
def burn(cpu_s: float) -> None:
    """Use CPU."""
    start_ns = time.monotonic_ns()
    spent_s = spin(cpu_s)
    _ledger().note(start_ns, int(spent_s * 1e9))


@task
def nap(time_s: float) -> None:
    """Sleep."""
    start_ns = time.monotonic_ns()
    time.sleep(time_s)
    _ledger().note(start_ns)


@task
def hold(path: Path) -> None:
    """Write this worker's pid to `path` and wait to be killed; a run that finds the file there returns at once."""
    if not path.exists():
        unseen = path.with_suffix(".new")
        unseen.write_text(str(os.getpid()))
        unseen.rename(path)
        time.sleep(HELD_S)
