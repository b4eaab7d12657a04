"""One connection to Redis: a command goes out, its reply comes back, and a connection in doubt is never used again.

Used by the session and its parts. redis-py opens the connection, signs in, and tells errors apart; `replies.py` does
the rest: no pool, no retries (what has been sent may have been done), no conversion of replies. Bytes everywhere.
RESP2, which costs least to read, unless the URL asks for RESP3 (`protocol=3`); only reads of streams look different
then. Replies that are errors are raised as redis-py's; `faults.told` makes ours of them.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from hiredis import pack_command
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd import redis_url
from workd.broker.closing import closing_at_once
from workd.broker.ops import Argument
from workd.broker.pushes import without_pushes
from workd.broker.replies import Replies
from workd.errors import SettingsError

Connector: TypeAlias = Callable[[], AbstractConnection]
"""Makes a connection that is not connected yet."""


def connector(url: str, connect_timeout_s: float, client_name: str) -> Connector:
    """Return what makes connections to this URL; the URL cannot change what the rest of the broker relies on."""
    fixed = {
        "socket_timeout": None,  # every call brings its own deadline
        "socket_connect_timeout": connect_timeout_s,
        "health_check_interval": 0,
        "client_name": client_name,
        "encoding": "utf-8",
        "encoding_errors": "strict",
        "decode_responses": False,
    }
    try:
        pool = ConnectionPool.from_url(redis_url.checked(url))
        pool.connection_class = closing_at_once(pool.connection_class)
        pool.connection_kwargs = without_pushes(pool.connection_kwargs) | fixed
        pool.connection_kwargs.setdefault("protocol", 2)  # what costs least to read
        # Made, not connected: redis-py refuses here what it refuses at all.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  (whatever it is, it comes of the URL)
        raise SettingsError("redis_url", f"{redis_url.masked(url)}: {error}") from None
    return pool.make_connection


class Link:
    """One connection. Calls of several tasks are answered in turn."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        """Use `open`."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._line: Replies | _Turns | None = None
        self.on_answer: Callable[[float], None] | None = None  # hears how many seconds a call took

    @classmethod
    async def open(cls, connect: Connector, timeout_s: float) -> "Link":
        """Connect, authenticate and ask for a first answer: a server that hangs accepts connections all the same."""
        link = cls(connect(), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await link._connection.connect()  # type: ignore[no-untyped-call]
            link._line = _line_of(link._connection)
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
        return self._line is None or self._line.ended

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send a command and return its reply; `timeout_s` is the whole time it may take.

        Whoever is cancelled, or has waited too long, takes the connection with him: the answer is still to come.
        """
        line = self._line
        if line is None:
            raise RedisConnectionError("the connection was not opened")
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        asked_at = time.monotonic()  # uvloop's own time goes in milliseconds
        reply = line.ask(pack_command(command))  # type: ignore[arg-type]  # its stub says one element, it takes any number
        timer = self._loop.call_later(limit_s, _give_up, line, reply, limit_s)
        try:
            answer = await reply
        except asyncio.CancelledError:
            line.end(RedisConnectionError("a call was cancelled whose answer was still to come"))
            raise
        finally:
            timer.cancel()
        if self.on_answer is not None:
            self.on_answer(time.monotonic() - asked_at)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """Close the connection. Safe twice; a call that waits for its reply fails."""
        if self._line is not None:
            self._line.end(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)


class _Turns:
    """The same as `Replies` where asyncio has no transport, as in what stands in for a server in tests.

    redis-py reads, one call after the other.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Future[Any]] = set()
        self.ended = False

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(self._exchange(packed))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    def end(self, why: BaseException) -> None:  # noqa: ARG002 - whoever waits is told that it was cancelled
        self.ended = True
        for task in self._asked:
            task.cancel()

    async def _exchange(self, packed: bytes) -> Any:
        async with self._turn:
            if self.ended:
                raise RedisConnectionError("the connection was closed")
            try:
                await self._connection.send_packed_command(packed, check_health=False)
                return await self._connection.read_response(disable_decoding=True)
            except BaseException:
                if not self._connection.is_connected:
                    self.ended = True  # never let redis-py connect again behind our back
                raise


def _line_of(connection: AbstractConnection) -> Replies | _Turns:
    writer: object = getattr(connection, "_writer", None)  # no release of redis-py gives it out in public
    if isinstance(writer, asyncio.StreamWriter):
        return Replies(cast("asyncio.Transport", writer.transport), BaseParser.parse_error)
    return _Turns(connection)


def _give_up(line: Replies | _Turns, reply: asyncio.Future[Any], limit_s: float) -> None:
    if not reply.done():  # it may have come in this very turn of the loop
        line.end(RedisTimeoutError(f"no answer within {limit_s:g} s"))
