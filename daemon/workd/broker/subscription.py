"""One connection that only listens to a pub/sub channel.

Opened by the session for whoever wants to hear of something sooner than he would find out. Nothing may depend on it:
what is published while nobody is connected is gone. It asks for a sign of life now and then: a connection that only
listens would not notice that its other end has gone.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

from hiredis import pack_command
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd.broker.link import Connector
from workd.broker.replies import Replies

PING_EVERY_S: Final = 60.0


class _Pushes(Replies):
    """Replies of a connection on which messages come between them."""

    def __init__(
        self,
        transport: asyncio.Transport,
        error_of: Callable[[str], Exception],
        heard: Mapping[bytes, Callable[[bytes], None]],
        lost: asyncio.Event,
    ) -> None:
        super().__init__(transport, error_of)
        self._heard = heard
        self._lost = lost

    def end(self, why: BaseException) -> None:
        super().end(why)
        self._lost.set()

    def _hand_out(self, reply: Any) -> None:
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":  # noqa: PLR2004 - kind, channel, text
            self._heard[reply[1]](reply[2])
        else:
            super()._hand_out(reply)


class Subscription:
    """A connection that listens, until it is lost."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        """Use `open`."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._lost = asyncio.Event()
        self._pushes: _Pushes | None = None

    @classmethod
    async def open(cls, connect: Connector, heard: Mapping[str, Callable[[bytes], None]], timeout_s: float) -> Self:
        """Connect and subscribe to channels; from then on each one's function is called with its messages, in the loop.

        Raises what redis-py raises, and `NotImplementedError` on a connection that no server is behind (in tests).
        """
        self = cls(connect(), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.connect()  # type: ignore[no-untyped-call]
            by_name = {channel.encode(): on_message for channel, on_message in heard.items()}
            self._pushes = _Pushes(_transport(self._connection), BaseParser.parse_error, by_name, self._lost)
            for channel in heard:
                await self._ask(b"SUBSCRIBE", channel)
        except TimeoutError:
            await self.close()
            raise RedisTimeoutError(f"no connection within {timeout_s:g} s") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def wait_lost(self) -> None:
        """Listen until the connection is lost, or gives no sign of life when it is asked for one."""
        while True:
            try:
                async with asyncio.timeout(PING_EVERY_S):
                    await self._lost.wait()
                return
            except TimeoutError:
                try:
                    await self._ask(b"PING")
                except (RedisError, OSError):
                    return

    async def close(self) -> None:
        """Close the connection. Safe twice."""
        if self._pushes is not None:
            self._pushes.end(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    async def _ask(self, *command: str | bytes) -> None:
        if self._pushes is None:
            return
        async with asyncio.timeout(self._timeout_s):
            answer = await self._pushes.ask(pack_command(command))  # type: ignore[arg-type]  # as in link.py
        if isinstance(answer, Exception):
            raise answer


def _transport(connection: AbstractConnection) -> asyncio.Transport:
    writer: object = getattr(connection, "_writer", None)  # as in link.py
    if not isinstance(writer, asyncio.StreamWriter):
        raise NotImplementedError("only a real connection can listen")
    return cast("asyncio.Transport", writer.transport)
