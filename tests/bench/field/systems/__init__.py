"""One adapter per system: its tasks, and a producer. Imported only where the system is installed.

An adapter registers the functions of `jobs` in its system's own way and has a function `producer()`. The driver knows
it only by its entry in `catalogue`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_ONCE = 50


class Producer(ABC):
    """Enqueues jobs. Coroutines throughout, for one way to measure: a synchronous system just never awaits."""

    async def open(self) -> None:  # noqa: B027 - most have nothing to do
        """Connect, where that is a step of its own."""

    async def close(self) -> None:  # noqa: B027
        """Close what `open` opened."""

    @abstractmethod
    async def send(self, task: str, *args: int) -> Any:
        """Enqueue one job and return what `wait` needs once Redis has it."""

    @abstractmethod
    async def wait(self, handle: Any, timeout_s: float) -> Any:
        """Return a job's result, as soon as it is there."""

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        """Enqueue many jobs in the quickest way that the system has; one by one where it has none."""
        for args in args_of_each:
            await self.send(task, *args)


class AsyncProducer(Producer):
    """A producer of a system for asyncio: where that has no bulk API, it keeps many calls in flight."""

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        """Enqueue many jobs, some at once on connections of their own."""
        for first in range(0, len(args_of_each), AT_ONCE):
            await asyncio.gather(*(self.send(task, *args) for args in args_of_each[first : first + AT_ONCE]))
