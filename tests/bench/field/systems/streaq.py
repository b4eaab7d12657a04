"""streaQ: its worker and its producer, which enqueues in bulk through `enqueue_many`.

Settings: uvloop; the 32 tasks at once of its own benchmark (benchmarks/bench_streaq.py; with 200 it is half as fast),
and its default prefetch, as many again; silent tasks, whose results are not kept, where nobody wants them. A result is
waited for in the one way there is, a subscription: the 100 ms are its client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streaq import Worker  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_ONCE = 32
KEEPS = surroundings.results() is not surroundings.Results.OFF
TTL_S = surroundings.RESULT_TTL_S if KEEPS else 0

worker: Any = Worker(redis_url=surroundings.url(), concurrency=AT_ONCE, anyio_kwargs={"use_uvloop": True})
TASKS = {name: worker.task(name=name, silent=True, ttl=TTL_S)(function) for name, function in jobs.ASYNC.items()}


class _Producer(Producer):
    async def open(self) -> None:
        await worker.__aenter__()

    async def close(self) -> None:
        await worker.__aexit__(None, None, None)

    async def send(self, task: str, *args: int) -> Any:
        return await TASKS[task].enqueue(*args)

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        await worker.enqueue_many([TASKS[task].enqueue(*args) for args in args_of_each])

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return (await handle.result(timeout=timeout_s)).result


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
