"""What goes on beside a test of a `workd.Pool` that is at work: somebody looks at it, somebody kills its workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from support.local_pools import busy_pids
from workd.errors import WorkerDiedError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from workd import Pool
    from workd.pool.api.results import AsyncResult


@contextmanager
def no_dip(pool: Pool) -> Iterator[None]:
    """Look at the pool all the time: it may never have fewer workers at work than slots."""
    over, lows, looks = threading.Event(), set[int](), [0]

    def look() -> None:
        while not over.is_set():
            stats = pool.stats()
            looks[0] += 1
            if stats.ready < stats.size:
                lows.add(stats.ready)
            time.sleep(0.003)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert looks[0] > 10
    assert not lows, f"a slot was empty: {lows} ready"


@contextmanager
def random_kills(pool: Pool, dice: random.Random, pause_s: float = 0.03) -> Iterator[set[int]]:
    """Kill a worker that is at work every now and then; give the pids of those that were."""
    over, killed = threading.Event(), set[int]()

    def kill() -> None:
        while not over.wait(dice.uniform(0.3, 1.7) * pause_s):
            if victims := busy_pids(pool):
                victim = dice.choice(victims)
                killed.add(victim)  # before: the news of its death may be quicker than this thread
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def values_of(results: list[AsyncResult[Any]], killed: set[int]) -> list[Any]:
    """Return what the calls returned; the death of a worker that was not killed here is an error."""
    values = []
    for result in results:
        try:
            values.append(result.get(30))
        except WorkerDiedError as error:
            if error.died.pid not in killed:
                raise
    return values
