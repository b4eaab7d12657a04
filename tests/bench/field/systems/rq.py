"""RQ: its producer, which enqueues in bulk through `enqueue_many`. Its workers import the jobs by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Queue  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPS = surroundings.results() is not surroundings.Results.OFF
TTL_S = surroundings.RESULT_TTL_S if KEEPS else 0


class _Producer(Producer):
    def __init__(self) -> None:
        self._queue: Any = Queue("bench", connection=Redis.from_url(surroundings.url()))

    async def send(self, task: str, *args: int) -> Any:
        return self._queue.enqueue(jobs.SYNC[task], args=args, result_ttl=TTL_S)

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        self._queue.enqueue_many(
            [Queue.prepare_data(jobs.SYNC[task], args=args, result_ttl=TTL_S) for args in args_of_each]
        )

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return handle.latest_result(timeout=int(timeout_s)).return_value


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
