"""RQ: its producer, which enqueues in bulk through `enqueue_many`. Its workers import the jobs by themselves.

Two rows: RQ's docs/benchmark.md finds SimpleWorker, which runs jobs in its own process, some six times as fast as the
default, a fork for each job, and advises the latter. Results are kept in every run: to remove a job right after its
end (result_ttl=0) takes RQ longer than to let it expire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Queue  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Producer(Producer):
    def __init__(self) -> None:
        self._queue: Any = Queue("bench", connection=Redis.from_url(surroundings.url()))

    async def send(self, task: str, *args: int) -> Any:
        return self._queue.enqueue(jobs.SYNC[task], args=args, result_ttl=surroundings.RESULT_TTL_S)

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        self._queue.enqueue_many(
            [
                Queue.prepare_data(jobs.SYNC[task], args=args, result_ttl=surroundings.RESULT_TTL_S)
                for args in args_of_each
            ]
        )

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return handle.latest_result(timeout=int(timeout_s)).return_value


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
