"""workd: its producer. Its tasks are in `workd_jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.field import surroundings
from bench.field.systems import Producer
from workd import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.client.handle import Handle


class _Producer(Producer):
    def __init__(self) -> None:
        kept = surroundings.results() is not surroundings.Results.OFF
        self._client = Client(surroundings.url()).with_options(result_ttl=surroundings.RESULT_TTL_S if kept else 0)

    async def close(self) -> None:
        self._client.close()

    async def send(self, task: str, *args: int) -> Handle[Any]:
        return self._client.enqueue(task, *args)

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        self._client.enqueue_many(task, args_of_each)

    async def wait(self, handle: Handle[Any], timeout_s: float) -> Any:
        return handle.get(timeout=timeout_s)


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
