"""The event loop of a local pool: which one it is, and which of its complaints mean that the pool is broken.

Used by `engine.py` in the loop's thread. It knows nothing of calls and workers.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_UVLOOP_DESCRIPTORS: Final = 16  # more than its first loop opens
_LOOP_DESCRIPTORS: Final = 3


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop where that is installed (the extra `daemon`); the standard loop does the same, slower.

    Raises `OSError` where descriptors are too few. uvloop would abort the program then.
    """
    with suppress(ImportError, OSError):
        import uvloop

        _try_to_open(_UVLOOP_DESCRIPTORS)
        return uvloop.new_event_loop()
    _try_to_open(_LOOP_DESCRIPTORS)  # a loop that is half made complains in its finalizer
    return asyncio.SelectorEventLoop()


def report_errors(loop: asyncio.AbstractEventLoop, fail: Callable[[BaseException], None]) -> None:
    """Have `fail` called with whatever a callback of the loop raises: half of its work is undone then.

    All else that the loop complains about is logged: an exception that nobody asked for has cost nobody anything.
    """

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and "handle" in context:
            fail(error)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(report)


def _try_to_open(count: int) -> None:
    """Raise `OSError` unless so many descriptors can be had."""
    with ExitStack() as held:
        for _ in range(count):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
