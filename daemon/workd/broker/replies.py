"""Commands out, replies in, on a socket that redis-py has opened and signed in on.

Used by `link.py` alone. Between two jobs a worker waits for what is done here, with caches that are full of the
workers' own work: so the loop hands over what has come without a stream, a lock or a task in between, and half of a
call's cost is gone. Replies come in the order of the commands, so a reply belongs to whoever has waited longest.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hiredis import ProtocolError, Reader
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

_READ_BYTES: Final = 1 << 16  # of one read, and of the buffer that each connection keeps for it


class Replies(asyncio.BufferedProtocol):
    """One connection; asked from one loop."""

    def __init__(self, transport: asyncio.Transport, error_of: Callable[[str], Exception]) -> None:
        """Take over `transport`, on which nothing is outstanding; `error_of` makes an exception of an error reply."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._reader = Reader(replyError=error_of, notEnoughData=Replies)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._ended: BaseException | None = None
        transport.set_protocol(self)

    @property
    def ended(self) -> bool:
        """Whether no reply can come any more."""
        return self._ended is not None

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """Send a command; the future is its reply, which is an exception as value where it is an error.

        It raises redis-py's ConnectionError, or what `end` was told, when the connection ends first.
        """
        future = self._loop.create_future()
        if self._ended is not None:
            future.set_exception(RedisConnectionError(f"the connection was closed: {self._ended}"))
        else:
            self._waiting.append(future)
            self._transport.write(packed)
        return future

    def end(self, why: BaseException) -> None:
        """Close the connection; whoever waits is told. Safe twice."""
        if self._ended is None:
            self._ended = why
            self._transport.abort()
            while self._waiting:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_exception(_told(why))

    # ── called by the transport ──

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a buffer of one size does for all
        """Say where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        try:
            self._reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]  # its stub knows no buffers
            while self._ended is None and (reply := self._reader.gets(False)) is not Replies:  # noqa: FBT003 - as bytes
                self._hand_out(reply)
        except ProtocolError as error:
            self.end(error)
        if nbytes == _READ_BYTES and self._ended is None:
            # There is more, which the transport would read without giving anybody else a turn.
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def eof_received(self) -> None:
        """Close: no reply comes after this."""
        self.end(RedisConnectionError("Redis has closed it"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self.end(exc or RedisConnectionError("Redis has closed it"))

    def _read_on(self) -> None:
        if self._ended is None:
            self._transport.resume_reading()

    def _hand_out(self, reply: Any) -> None:
        if not self._waiting:
            self.end(ProtocolError("a reply that nobody had asked for"))
            return
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(reply)


def _told(why: BaseException) -> RedisError:
    """Return a new exception for each who waits: one that several raise would grow their tracebacks together."""
    kind = RedisTimeoutError if isinstance(why, RedisTimeoutError) else RedisConnectionError
    return kind(str(why))
