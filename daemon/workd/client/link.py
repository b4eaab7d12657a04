"""One command, one answer, one deadline: a producer's connections to Redis.

Owned here: the sockets of a synchronous client, kept for reuse, each used by one thread at a time. Called by
Client, its handles and its reader. redis-py opens the connections; its retries are not used,
because XADD sent twice is a job run twice: a command is sent again only if its bytes had not all left for
Redis, for then nobody can have run it. A connection on which anything but an answer came is never used again.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from redis.connection import ConnectionPool
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd import redis_url
from workd.broker.pushes import without_pushes
from workd.client.connection import REFUSALS, Connection, Deadline, Hurried, pack, timely
from workd.errors import EnqueueTimeoutError, ServerUnavailableError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.commands import Command
    from workd.client.connection import RawConnection

_WRITES = frozenset({"XADD", "EVAL", "EVALSHA"})
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "XREAD": 6}  # XREAD COUNT n BLOCK ms STREAMS key

_KEPT_IDLE = 32


def connection_settings(pool: Any, url: str) -> tuple[Any, dict[str, Any]]:
    """Read a Redis URL into a connection class and its arguments. SettingsError, without the password."""
    try:
        read = pool.from_url(redis_url.checked(url))
    except ValueError as error:
        raise refused_url(url, error) from None
    overrides: dict[str, Any] = {
        "protocol": read.connection_kwargs.get("protocol", 2),  # what costs least to read, unless it was asked for
        "decode_responses": False,
        "retry": None,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "socket_timeout": None,  # deadlines are of calls, not of operations
    }
    return read.connection_class, {**without_pushes(read.connection_kwargs), **overrides}


def refused_url(url: str, error: ValueError) -> SettingsError:
    """Say that a URL is none. To be raised `from None`: the text of the cause would show the whole URL."""
    return SettingsError("redis_url", f"{redis_url.masked(url)}: {_why(error)}")


def refused(command: Command, error: Exception, url: str) -> ServerUnavailableError:
    """Say that Redis answered with an error: the command was not run."""
    return ServerUnavailableError(
        f"Redis at {redis_url.masked(url)} refused {_said(command)}: {_why(error)}; nothing was changed"
    )


def unreachable(command: Command, error: Exception, url: str) -> ServerUnavailableError:
    """Say that the command never left: nobody is there, or somebody who does not let us in."""
    if isinstance(error, (ResponseError, *REFUSALS)):
        what = f"Redis at {redis_url.masked(url)} refused the connection: {_why(error)} (is redis_url right?)"
    else:
        what = f"no connection to Redis at {redis_url.masked(url)} (redis_url): {_why(error)}"
    return ServerUnavailableError(f"{what}; {_said(command)} was not sent")


def unanswered(
    command: Command, error: Exception, url: str, deadline_s: float
) -> ServerUnavailableError | EnqueueTimeoutError:
    """Say that the command left and nothing came back: only Redis knows whether it was run."""
    doubt = f"{_said(command)} was sent"
    if command[0] in _WRITES:
        doubt += ", whether it was run is not known (only jobs with an id can safely be sent again)"
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return EnqueueTimeoutError(f"no answer from Redis at {redis_url.masked(url)} within {deadline_s:g} s: {doubt}")
    broken = ServerUnavailableError(
        f"the connection to Redis at {redis_url.masked(url)} broke ({_why(error)}): {doubt}"
    )
    broken.in_doubt = True
    return broken


def accepted(commands: Sequence[Command], answers: list[Any], url: str) -> list[Any]:
    """Return the answers, or raise the first refusal; one that ends the connection is the last answer."""
    for command, answer in zip(commands, answers, strict=False):
        if isinstance(answer, NoScriptError):
            raise answer
        if isinstance(answer, RedisError):
            raise refused(command, answer, url) from answer
    return answers


def _why(error: Exception) -> str:
    """Give an error's text as a part of a sentence: a timeout of asyncio's has none."""
    return str(error).rstrip(". ") or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def _said(command: Command) -> str:
    """Name a command by its verb and key, never by its payload."""
    key_at = _KEY_AT.get(str(command[0]), 1)
    return f"{command[0]!s} {command[key_at]!r}" if key_at < len(command) else str(command[0])


class Link:
    """The connections of one client; safe for threads. After a fork the child makes itself a new one."""

    def __init__(self, url: str, deadline_s: float) -> None:
        """Check the URL; nothing is connected before the first call."""
        self.url = url
        self.deadline_s = deadline_s
        self._class, self._settings = connection_settings(ConnectionPool, url)
        self._idle: list[Connection] = []  # only append and pop, which are atomic
        self._closed = False

    def call(self, command: Command, deadline: Deadline | None = None) -> Any:
        """Send one command and return its answer; without a deadline, within the link's.

        Raises ServerUnavailableError (not sent, refused, or the connection broke) or EnqueueTimeoutError
        (sent, and no answer within the deadline); NoScriptError of redis-py where a script is called by its
        digest.
        """
        return self.call_all((command,), deadline)[0]

    def call_all(self, commands: Sequence[Command], deadline: Deadline | None = None) -> list[Any]:
        """Send commands in one go and return their answers."""
        deadline = deadline or Deadline(self.deadline_s)
        connection = self._send(commands, deadline)
        answers = self._receive(connection, commands, deadline)
        self._give_back(connection)
        return accepted(commands, answers, self.url)

    def call_followed(
        self, command: Command, following: Sequence[Callable[[float], Command]], deadline: Deadline
    ) -> tuple[Any, list[Any]]:
        """Send a command, and once it is answered, others on the same connection; return both kinds of answers.

        Each of the others is made from the seconds that are left. Their refusals are answers; so is, as the last one,
        what breaks the connection.
        """
        connection = self._send((command,), deadline)
        received = self._receive(connection, (command,), deadline)
        answers: list[Any] = []
        if not isinstance(received[0], RedisError):
            answers = _follow(connection, following, deadline)
        if answers and isinstance(answers[-1], OSError | InvalidResponse):
            connection.close()
        else:
            self._give_back(connection)
        return accepted((command,), received, self.url)[0], answers

    def connect(self, wanted_for: Command, deadline: Deadline) -> Connection:
        """Open a connection of the caller's own."""

        def handshake(opening: RawConnection) -> None:
            if isinstance(sock := opening._sock, socket.socket):  # noqa: SLF001 - see RawConnection
                opening._sock = Hurried(sock, deadline)  # noqa: SLF001
            opening.on_connect()
            if opening._sock is not None:  # noqa: SLF001
                opening._sock = sock  # noqa: SLF001

        opening = timely(self._class)(**self._settings, redis_connect_func=handshake)
        opening.deadline = deadline
        try:
            opening.connect()
            return Connection(opening)
        except (RedisError, OSError) as error:
            opening.disconnect()
            raise unreachable(wanted_for, error, self.url) from error

    def ask(self, connection: Connection, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """Do as `call_all`, on a connection of the caller's own; after a refusal it is still good."""
        try:
            connection.send(pack(commands), deadline)
        except (RedisError, OSError) as error:
            raise unreachable(commands[0], error, self.url) from error
        return accepted(commands, self._receive(connection, commands, deadline), self.url)

    def each(self) -> list[Link]:
        """Return a link to each server that holds keys: there is one."""
        return [self]

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def _send(self, commands: Sequence[Command], deadline: Deadline) -> Connection:
        """Send on a kept connection, and if that one is dead, once more on a new one."""
        packed = pack(commands)
        kept = self._take_healthy()
        if kept is not None:
            try:
                kept.send(packed, deadline)
            except OSError:
                kept.close()
            else:
                return kept
        connection = self.connect(commands[0], deadline)
        try:
            connection.send(packed, deadline)
        except OSError as error:
            connection.close()
            raise unreachable(commands[0], error, self.url) from error
        return connection

    def _receive(self, connection: Connection, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """Read one answer for each command, refusals too; unless all came, the connection is closed."""
        answers: list[Any] = []
        try:
            for _ in commands:
                answers.append(connection.read(deadline))  # noqa: PERF401 (how many came is what the error tells)
        except (RedisError, OSError) as error:
            connection.close()
            raise unanswered(commands[len(answers)], error, self.url, deadline.span_s) from error
        except BaseException:  # an interrupt: the answer is still to come
            connection.close()
            raise
        return answers

    def _take_healthy(self) -> Connection | None:
        while (connection := self._pop()) is not None:
            if connection.is_quiet():
                return connection
            connection.close()  # by the server while it was idle, as a rule
        return None

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _give_back(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= _KEPT_IDLE:
            connection.close()
        else:
            self._idle.append(connection)


def _follow(connection: Connection, following: Sequence[Callable[[float], Command]], deadline: Deadline) -> list[Any]:
    answers: list[Any] = []
    try:
        for command in following:
            connection.send(pack((command(deadline.left_s()),)), deadline)
            answers.append(connection.read(deadline))
    except (OSError, InvalidResponse) as error:
        answers.append(error)
    except BaseException:  # an interrupt: the answer is still to come
        connection.close()
        raise
    return answers
