"""Which event loop a local pool runs in. Used by `engine.py`, in the loop's thread."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, suppress
from typing import Final

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


def _try_to_open(count: int) -> None:
    """Raise `OSError` unless so many descriptors can be had."""
    with ExitStack() as held:
        for _ in range(count):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
