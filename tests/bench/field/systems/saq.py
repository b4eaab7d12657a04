"""SAQ: its queue, its worker's settings and its producer. It has no bulk API.

Settings: uvloop and hiredis; as many jobs at once as streaQ's benchmark gives it (its own, benchmarks/simple.py, gives
it 10, its default; between 10 and 100 there is next to no difference); the ttl that removes a job at once where nobody
wants its result. It waits in BLMOVE and polls for nothing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any

import uvloop
from saq import Queue  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import AsyncProducer, Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AT_ONCE = 32
LISTEN_S = 0.1  # what ends between its look at the job and its first listening is not heard of: look again
KEEPS = surroundings.results() is not surroundings.Results.OFF
TTL_S = surroundings.RESULT_TTL_S if KEEPS else -1  # below 0: removed at once

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
queue = Queue.from_url(surroundings.url(), name="bench")


def _with_context(function: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """Take arguments as SAQ gives them: a context, then keywords."""

    @wraps(function)
    async def run(_context: dict[str, Any], **kwargs: int) -> int:
        return await function(*kwargs.values())

    return run


settings = {
    "queue": queue,
    "functions": [(name, _with_context(function)) for name, function in jobs.ASYNC.items()],
    "concurrency": AT_ONCE,
}


class _Producer(AsyncProducer):
    async def open(self) -> None:
        await queue.connect()

    async def close(self) -> None:
        await queue.disconnect()

    async def send(self, task: str, *args: int) -> Any:
        return await queue.enqueue(task, ttl=TTL_S, kwargs=dict(zip(("first",), args, strict=False)))

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        deadline = time.monotonic() + timeout_s
        while not handle.completed and time.monotonic() < deadline:
            with suppress(TimeoutError):
                await handle.refresh(until_complete=LISTEN_S)
        return handle.result


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
