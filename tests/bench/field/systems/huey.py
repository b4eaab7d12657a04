"""Huey: its tasks and its producer. It has no way to enqueue in bulk.

Settings: worker processes, as its consumer's help says for work that uses the CPU; blocking reads, its default with
Redis; `notify_result`, its option for results with little latency, where somebody waits for one; no periodic tasks.
"""

from __future__ import annotations

from typing import Any

from huey import RedisHuey  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import Producer

huey = RedisHuey(
    "bench",
    url=surroundings.url(),
    results=surroundings.results() is not surroundings.Results.OFF,
    notify_result=surroundings.results() is surroundings.Results.AWAITED,  # spares the producer the polling
)
TASKS = {name: huey.task()(function) for name, function in jobs.SYNC.items()}


class _Producer(Producer):
    async def send(self, task: str, *args: int) -> Any:
        return TASKS[task](*args)

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return handle.get(blocking=True, timeout=timeout_s)


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
