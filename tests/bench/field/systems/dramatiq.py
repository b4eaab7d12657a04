"""Dramatiq: its actors and its producer.

Settings: as many threads as its command line has by default and its own benchmark (benchmarks/bench.py) uses, but 2
where jobs use the CPU, of which 8 in one process take more of it from each other; and the environment variable
dramatiq_queue_prefetch of its reference, since a process fetches 16 messages at a time without it and drains a fifth
less. Left at its default is dramatiq_worker_timeout, the longest sleep between two looks at an empty queue: with 5 ms
in place of 1 s a job begins after 2 ms in place of 5, but the drain is a tenth less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dramatiq  # type: ignore[import-not-found, unused-ignore]
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found, unused-ignore]
from dramatiq.results import Results  # type: ignore[import-not-found, unused-ignore]
from dramatiq.results.backends import RedisBackend  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPS = surroundings.results() is not surroundings.Results.OFF
RESULT_TTL_MS = surroundings.RESULT_TTL_S * 1000

broker = RedisBroker(url=surroundings.url())
if KEEPS:
    broker.add_middleware(Results(backend=RedisBackend(url=surroundings.url())))
dramatiq.set_broker(broker)
OPTIONS = {"store_results": True, "result_ttl": RESULT_TTL_MS} if KEEPS else {}
ACTORS = {name: dramatiq.actor(function, **OPTIONS) for name, function in jobs.SYNC.items()}


class _Producer(Producer):
    async def send(self, task: str, *args: int) -> Any:
        return ACTORS[task].send(*args)

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        dramatiq.group(ACTORS[task].message(*args) for args in args_of_each).run()

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return handle.get_result(block=True, timeout=int(timeout_s * 1000))


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
