"""arq: its worker's settings and its producer. It has no bulk API.

Settings: uvloop; 100 jobs at once (its default of 10, or 32, or 300 make next to no difference); a poll every 5 ms in
place of 0.5 s, since it learns of jobs in no other way; results dropped where nobody wants them.
"""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any

import uvloop
from arq import ArqRedis, create_pool, func  # type: ignore[import-not-found, unused-ignore]
from arq.connections import RedisSettings  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import AsyncProducer, Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

POLL_S = 0.005
AT_ONCE = 100
KEEPS = surroundings.results() is not surroundings.Results.OFF

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
SETTINGS = RedisSettings.from_dsn(surroundings.url())


def _with_context(function: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    """Take arguments as arq gives them: a context comes first."""

    @wraps(function)
    async def run(_context: dict[str, Any], *args: int) -> int:
        return await function(*args)

    return run


class WorkerSettings:
    """What `arq` reads."""

    functions = tuple(func(_with_context(function), name=name) for name, function in jobs.ASYNC.items())
    redis_settings = SETTINGS
    max_jobs = AT_ONCE
    poll_delay = POLL_S
    keep_result = surroundings.RESULT_TTL_S if KEEPS else 0


class _Producer(AsyncProducer):
    def __init__(self) -> None:
        self._pool: ArqRedis = None

    async def open(self) -> None:
        self._pool = await create_pool(SETTINGS)

    async def close(self) -> None:
        await self._pool.aclose()

    async def send(self, task: str, *args: int) -> Any:
        return await self._pool.enqueue_job(task, *args)

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return await handle.result(timeout=timeout_s, poll_delay=0.001)


def producer() -> Producer:
    """Make a producer."""
    return _Producer()


QUIET = {"version": 1, "disable_existing_loggers": False}
