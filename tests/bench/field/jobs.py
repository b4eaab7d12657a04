"""The jobs that every system runs: plain functions, and the same as coroutines for what runs on an event loop.

Registered by the adapters in `systems/`. Each reports its end through the journal and returns a small number, so that
there is a result to be kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.field.journal import reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def noop() -> int:
    """Do nothing."""
    reporter().done()
    return 1


def started(number: int) -> int:
    """Say when this began."""
    own = reporter()
    own.began(number)
    own.done()
    return number


def burn(cpu_us: int) -> int:
    """Use so much of the CPU, in microseconds; what other threads use does not count."""
    own = reporter()
    until = time.thread_time_ns() + cpu_us * 1000
    while time.thread_time_ns() < until:
        pass
    own.done()
    return cpu_us


async def noop_async() -> int:
    """Do nothing."""
    return noop()


async def started_async(number: int) -> int:
    """Say when this began."""
    return started(number)


async def burn_async(cpu_us: int) -> int:
    """Use so much of the CPU, on the event loop: a thread would only add to it."""
    return burn(cpu_us)


SYNC: dict[str, Callable[..., int]] = {"noop": noop, "started": started, "burn": burn}
ASYNC: dict[str, Callable[..., Coroutine[Any, Any, int]]] = {
    "noop": noop_async,
    "started": started_async,
    "burn": burn_async,
}
