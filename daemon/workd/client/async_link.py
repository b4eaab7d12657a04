"""One command, one answer, one deadline, for asyncio: see link.py, whose rules and words are the same.

Owned here: the sockets of an asynchronous client, of one event loop. A call that is cancelled closes its
connection, because its answer is still to come. Unlike a blocking socket, a transport may send on what it was
given even if the write fails: from the first byte on, a command counts as sent.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, ConnectionPool
from redis.exceptions import RedisError, ResponseError

from workd.client.async_dialing import trying_all_addresses
from workd.client.connection import REFUSALS, Deadline
from workd.client.link import accepted, connection_settings, unanswered, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.commands import Command

_MOST_CONNECTIONS = 32


class AsyncLink:
    """The connections of one client."""

    def __init__(self, url: str, deadline_s: float) -> None:
        """Check the URL; nothing is connected before the first call."""
        self.url = url
        self.deadline_s = deadline_s
        connection_class, self._settings = connection_settings(ConnectionPool, url)
        self._class = trying_all_addresses(connection_class, deadline_s)
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def places(self) -> asyncio.Semaphore:
        """One for each call that is under way. RuntimeError in a second event loop while the first one is running."""
        if (loop := asyncio.get_running_loop()) is not self._loop:
            self._move_to(loop)
        return self._places

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin anew in another loop, as `asyncio.run` makes one each time: what was opened in the old one is gone."""
        if self._loop is not None:
            refuse_two_loops(self._loop)
            self._idle.clear()  # nothing can be closed any more in a loop that has ended; the garbage collector does
            self._places = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._loop = loop

    async def call(self, command: Command) -> Any:
        """Send one command and return its answer; raises as `Link.call`."""
        async with self.places:
            return await self.call_in_turn(command, Deadline(self.deadline_s))

    async def call_in_turn(self, command: Command, deadline: Deadline) -> Any:
        """Do as `call`, for whoever has one of the `places`: the deadline begins with the turn."""
        return (await self.call_followed(command, (), deadline))[0]

    async def call_followed(
        self, command: Command, following: Sequence[Callable[[float], Command]], deadline: Deadline
    ) -> tuple[Any, list[Any]]:
        """Do as `Link.call_followed`, for whoever has one of the `places`."""
        connection: Connection | None = None
        answers: list[Any] = []
        try:
            async with asyncio.timeout(deadline.left_s()):
                connection = await self._healthy()
                answers += await _exchange(connection, [command])
                for question in following if not isinstance(answers[0], RedisError) else ():
                    answers += await _exchange(connection, [question(deadline.left_s())])
        except (RedisError, OSError) as error:
            if connection is None:
                raise unreachable(command, error, self.url) from error
            if not answers:
                raise unanswered(command, error, self.url, deadline.span_s) from error
            answers.append(error)
        finally:
            if connection is not None:
                await self._give_back(connection)
        return accepted([command], answers[:1], self.url)[0], answers[1:]

    async def ask(self, connection: Connection, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Send commands on a connection of the caller's own and return their answers; raises as `call`."""
        try:
            async with asyncio.timeout(timeout_s):
                answers = await _exchange(connection, commands)
        except (RedisError, OSError) as error:
            raise unanswered(commands[0], error, self.url, timeout_s) from error
        return accepted(commands, answers, self.url)

    async def connect(self, wanted_for: Command) -> Connection:
        """Open a connection of the caller's own."""
        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._new()
        except (RedisError, OSError) as error:
            raise unreachable(wanted_for, error, self.url) from error

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        _ = self.places  # moves to this loop, if need be: what was opened in one that has ended cannot be closed
        while self._idle:
            await disconnect(self._idle.pop())

    def abandon(self) -> None:
        """Have closed what is idle, from any thread: nobody has the client any more."""
        self._closed = True
        if self._idle and self._loop is not None:
            with suppress(RuntimeError):  # that loop has ended
                self._loop.call_soon_threadsafe(_abort, self._idle)

    async def _healthy(self) -> Connection:
        _ = self.places  # which moves to this loop, if need be
        while self._idle:
            connection = self._idle.pop()
            if not _closed_by_server(connection):
                return connection
            await disconnect(connection)
        return await self._new()

    async def _new(self) -> Connection:
        connection: Connection = self._class(**self._settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:  # cancelled in mid-handshake too: nobody else will close it
            await disconnect(connection)
            raise
        return connection

    async def _give_back(self, connection: Connection) -> None:
        if self._closed:
            await disconnect(connection)
        elif connection.is_connected:  # else redis-py has closed it: after any error and any cancelling
            self._idle.append(connection)


def refuse_two_loops(first: asyncio.AbstractEventLoop) -> None:
    """Raise RuntimeError while the loop that a client was used in before is still running."""
    if first.is_running():
        raise RuntimeError("this AsyncClient is used in another event loop that is still running: make one for each")


def _closed_by_server(connection: Connection) -> bool:
    """Say whether the other end has gone, also if the loop has not had a turn to notice.

    The kernel is asked: nobody has asked the server anything, so whatever can be read now is its farewell.
    """
    reader: asyncio.StreamReader | None = connection._reader  # noqa: SLF001 (no release of redis-py has a public
    writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001  way that neither reads nor waits)
    if reader is None or writer is None or reader.at_eof():
        return True
    poller = select.poll()
    poller.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poller.poll(0))


def _abort(connections: list[Connection]) -> None:
    for connection in connections:
        writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001 (as above)
        if writer is not None:
            writer.transport.abort()
        connection._reader = connection._writer = None  # noqa: SLF001 (else redis-py warns of what is closed by now)


async def disconnect(connection: Connection) -> None:
    """Close a connection, whatever state it is in."""
    with suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


async def _exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """Send commands and read an answer for each; a refusal is an answer too."""
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    answers: list[Any] = []
    while len(answers) < len(commands) and connection.is_connected:
        try:
            answers.append(await connection.read_response())
        except (ResponseError, *REFUSALS) as refusal:
            answers.append(refusal)
    return answers
