"""Wait for a condition with a deadline, instead of sleeping for a guess."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

POLL_S = 0.005

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout_s: float = 20.0) -> T:
    """Call the condition until it is truthy and return what it gave; fail the test at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {timeout_s} s: {_source(condition)}"
        time.sleep(POLL_S)
    return value


async def eventually_async(condition: Callable[[], T | Awaitable[T]], timeout_s: float = 20.0) -> T:
    """`eventually` for a test with an event loop; the condition may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        value = cast("T", await answer if inspect.isawaitable(answer) else answer)
        if value:
            return value
        assert time.monotonic() < deadline, f"not true within {timeout_s} s: {_source(condition)}"
        await asyncio.sleep(POLL_S)


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
