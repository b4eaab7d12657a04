"""Functions that have pools and children of their own: called by the fault tests in the workers of a `workd.Pool`."""

from __future__ import annotations

import time
from multiprocessing import Pool as StandardPool
from multiprocessing import Process
from typing import TYPE_CHECKING

from support.fault_calls import FOREVER_S, double, sleep_after_telling
from workd import Pool

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def total_by_a_workd_pool(numbers: int) -> int:
    with Pool(2) as pool:
        return sum(pool.map(double, range(numbers)))


def total_by_a_standard_pool(numbers: int) -> int:
    with StandardPool(2) as pool:
        return sum(pool.map(double, range(numbers)))


def total_by_a_pool_in_a_pool(numbers: int) -> int:
    with Pool(1) as pool:
        return pool.apply(total_by_a_workd_pool, (numbers,))


def send_total(connection: Connection) -> None:
    connection.send(total_by_a_workd_pool(100))


def terminate_a_child() -> int | None:
    """Return how a child ended that was told to."""
    child = Process(target=time.sleep, args=(FOREVER_S,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode


def leave_a_busy_standard_pool() -> str:
    with StandardPool(2) as pool:
        pool.map_async(time.sleep, [FOREVER_S] * 2, chunksize=1)
        time.sleep(0.1)  # until its workers are busy; if they are not yet, this tests a little less
    return "left"


def hold_a_standard_pool(folder: str) -> None:
    """Have a pool of the standard library whose workers are busy, for ever."""
    with StandardPool(2) as pool:
        pool.starmap(sleep_after_telling, [(folder,)] * 2)


def hold_a_pool(folder: str) -> None:
    """Have a pool whose workers are busy, for ever."""
    with Pool(2) as pool:
        pool.starmap(sleep_after_telling, [(folder,)] * 2)
