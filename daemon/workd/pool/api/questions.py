"""What other threads ask of the core: `stats`, `resize`, `reload`. Answered in the loop, each in a task of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workd.pool.core import ProcessPool

T = TypeVar("T")


class Questions:
    """The questions of one pool that have no answer yet."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self._asked: deque[tuple[Callable[[ProcessPool], Awaitable[Any]], Future[Any]]] = deque()
        self._open: set[Future[Any]] = set()  # whoever takes a future out of it answers it
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether one has no answer yet."""
        return bool(self._open)

    def ask(self, question: Callable[[ProcessPool], Awaitable[T]]) -> Future[T]:
        """Ask from any thread."""
        answer: Future[T] = Future()
        self._open.add(answer)
        self._asked.append((question, answer))
        return answer

    def take(self, pool: ProcessPool) -> None:
        """Begin to answer what was asked. Called in the loop."""
        while self._asked:
            task = asyncio.create_task(self._answer(pool, *self._asked.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def refuse(self, error: BaseException) -> None:
        """Answer everything that has no answer with an error, from any thread: nobody else will."""
        for answer in self._open.copy():
            if self._close(answer):
                answer.set_exception(error)

    async def _answer(
        self, pool: ProcessPool, question: Callable[[ProcessPool], Awaitable[Any]], answer: Future[Any]
    ) -> None:
        try:
            value = await question(pool)
        except Exception as error:  # noqa: BLE001 - raised in the thread that asks
            if self._close(answer):
                answer.set_exception(error)
        else:
            if self._close(answer):
                answer.set_result(value)

    def _close(self, answer: Future[Any]) -> bool:
        try:
            self._open.remove(answer)
        except KeyError:
            return False
        return True
