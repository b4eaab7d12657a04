"""The least that a supervised pool can do with a payload: read it from Redis, hand it to a process, parse it there.

No envelope, no lease, no result, no supervision; the entries are acknowledged as they are read. What workd's drain of
large payloads is held against beside the bare loop, which hands nothing to anybody. Used by `payloads`.
"""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic_core import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

END = b""
STOP_S = 10.0


class Relay:
    """Processes that parse what they are handed."""

    def __init__(self, pipes: list[Connection]) -> None:
        """Use the pipes to processes that are there."""
        self._pipes = pipes
        self._next = 0

    def hand(self, message: bytes) -> None:
        """Give one message to the next process in turn; waits while its pipe is full."""
        self._pipes[self._next].send_bytes(message)
        self._next = (self._next + 1) % len(self._pipes)

    def wait(self) -> None:
        """Wait until everything that was handed over has been parsed."""
        for pipe in self._pipes:
            pipe.send_bytes(END)
        for pipe in self._pipes:
            pipe.recv_bytes()


@contextmanager
def relay(workers: int) -> Iterator[Relay]:
    """Run so many processes."""
    context = multiprocessing.get_context("fork")
    pairs = [context.Pipe() for _ in range(workers)]
    parsers = [context.Process(target=_parse, args=(far,), daemon=True) for _, far in pairs]
    for parser in parsers:
        parser.start()
    try:
        yield Relay([near for near, _ in pairs])
    finally:
        for parser in parsers:
            parser.terminate()
            parser.join(STOP_S)


def _parse(pipe: Connection) -> None:
    """Parse whatever comes; answer when told that it was all."""
    while True:
        message = pipe.recv_bytes()
        if message == END:
            pipe.send_bytes(END)
        else:
            from_json(message, allow_inf_nan=False)
