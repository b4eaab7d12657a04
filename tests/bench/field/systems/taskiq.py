"""TaskIQ, on a Redis list or on a Redis stream: its tasks and its producer. It has no bulk API.

Settings: uvloop, which it uses by itself where it is installed; arguments not parsed with pydantic (--no-parse); its
defaults of 100 tasks at once and 100 entries a read: neither fewer at once nor more prefetched makes a difference. A
result is looked for every millisecond, since it has no other way to wait.
"""

from __future__ import annotations

import os
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import AsyncProducer, Producer

BROKERS = {"list": ListQueueBroker, "stream": RedisStreamBroker}
RESULT_POLL_S = 0.001

broker = BROKERS[os.environ["BENCH_TASKIQ_BROKER"]](url=surroundings.url())
if surroundings.results() is not surroundings.Results.OFF:
    backend = RedisAsyncResultBackend(redis_url=surroundings.url(), result_ex_time=surroundings.RESULT_TTL_S)
    broker = broker.with_result_backend(backend)
TASKS = {name: broker.register_task(function, task_name=name) for name, function in jobs.ASYNC.items()}


class _Producer(AsyncProducer):
    async def open(self) -> None:
        await broker.startup()

    async def close(self) -> None:
        await broker.shutdown()

    async def send(self, task: str, *args: int) -> Any:
        return await TASKS[task].kiq(*args)

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return (await handle.wait_result(check_interval=RESULT_POLL_S, timeout=timeout_s)).return_value


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
