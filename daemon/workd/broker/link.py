"""One connection to Redis: a command goes out, its reply comes back, and a connection in doubt is never used again.

Used by the session and its parts. On redis-py's asyncio connections, below its client: no pool, no retries (what has
been sent may have been done), no conversion of replies. RESP2 and bytes everywhere, since that is what scripts see
on every server and what costs least to read. Replies that are errors are raised as redis-py's; `faults.told` makes
ours of them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd import redis_url
from workd.broker.ops import Argument
from workd.errors import SettingsError

Connector: TypeAlias = Callable[[], AbstractConnection]
"""Makes a connection that is not connected yet."""

_READ_BYTES: Final = 1 << 18


def connector(url: str, connect_timeout_s: float, client_name: str) -> Connector:
    """Return what makes connections to this URL; the URL cannot change what the rest of the broker relies on."""
    fixed = {
        "protocol": 2,
        "socket_timeout": None,  # every call brings its own deadline
        "socket_connect_timeout": connect_timeout_s,
        "socket_read_size": _READ_BYTES,
        "health_check_interval": 0,
        "client_name": client_name,
        "encoding": "utf-8",
        "encoding_errors": "strict",
        "decode_responses": False,
    }
    try:
        pool = ConnectionPool.from_url(redis_url.checked(url))
        pool.connection_kwargs |= fixed
        # Made, not connected: redis-py refuses here what it refuses at all.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  (whatever it is, it comes of the URL)
        raise SettingsError("redis_url", f"{redis_url.masked(url)}: {error}") from None
    return pool.make_connection


class Link:
    """One connection; calls from several tasks are made one after the other."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, connect: Connector, timeout_s: float) -> "Link":
        """Connect, authenticate and ask for a first answer: a server that hangs accepts connections all the same."""
        link = cls(connect(), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await link._connection.connect()  # type: ignore[no-untyped-call]
            await link.call(b"PING")
        except TimeoutError:
            await link.close()
            raise RedisTimeoutError(f"no connection within {timeout_s:g} s") from None
        except BaseException:
            await link.close()
            raise
        return link

    @property
    def closed(self) -> bool:
        """Whether this connection is of no use any more."""
        return self._closed

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send a command and return its reply; `timeout_s` is the whole time it may take."""
        packed = pack_command(command)  # type: ignore[arg-type]  # its stub says one element, it takes any number
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        async with self._turn:
            if self._closed:
                raise RedisConnectionError("the connection was closed")
            try:
                async with asyncio.timeout(limit_s):
                    await self._connection.send_packed_command(packed, check_health=False)
                    reply = await self._connection.read_response(disable_decoding=True)
            except TimeoutError:
                await self.close()
                raise RedisTimeoutError(f"no answer within {limit_s:g} s") from None
            except BaseException:
                if not self._connection.is_connected:
                    self._closed = True  # never let redis-py connect again behind our back
                raise
            return reply

    async def close(self) -> None:
        """Close the connection. Safe twice; a call that waits for its reply fails."""
        self._closed = True
        await self._connection.disconnect(nowait=True)
