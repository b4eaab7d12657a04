"""One command, one answer, one deadline: a producer's connections to Redis.

Owned here: the sockets of a synchronous client, kept for reuse, each used by one thread at a time. Called by
Client, its handles and its reader. redis-py makes and parses the connections; its retries are not used,
because XADD sent twice is a job run twice: a command is sent again only if its bytes had not all left for
Redis, for then nobody can have run it. A connection on which anything but an answer came is never used again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from redis.connection import ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd import redis_url
from workd.errors import EnqueueTimeoutError, ServerUnavailableError, SettingsError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from workd.client.commands import Command

# What Redis says no with, but redis-py takes for a broken connection.
REFUSALS = (BusyLoadingError, AuthenticationError, AuthorizationError)

_WRITES = frozenset({"XADD", "EVAL", "EVALSHA"})
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "XREAD": 6}  # XREAD COUNT n BLOCK ms STREAMS key

_LEAST_TIMEOUT_S = 0.001
_KEPT_IDLE = 32


def connection_settings(pool: Any, url: str) -> tuple[Any, dict[str, Any]]:
    """Read a Redis URL into a connection class and its arguments. SettingsError, without the password."""
    try:
        read = pool.from_url(redis_url.checked(url))
    except ValueError as error:  # whose text would show the whole URL as the cause of ours
        raise SettingsError("redis_url", f"{redis_url.masked(url)}: {_why(error)}") from None
    overrides: dict[str, Any] = {
        "protocol": 2,  # one shape of answers, and nothing pushed between them
        "decode_responses": False,
        "retry": None,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "socket_timeout": None,  # deadlines are of calls, not of operations
    }
    return read.connection_class, {**read.connection_kwargs, **overrides}


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
    return ServerUnavailableError(f"the connection to Redis at {redis_url.masked(url)} broke ({_why(error)}): {doubt}")


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
    return f"{command[0]!s} {command[key_at]!r}"


class RawConnection(Protocol):
    """What is used of redis-py's connections, which have few type hints of their own."""

    _sock: socket.socket | None
    """None once it is closed, which redis-py does after every error; no release of it has a public way to this."""

    socket_connect_timeout: float | None
    socket_timeout: float | None

    def connect(self) -> None:
        """Open the socket and introduce ourselves."""

    def on_connect(self) -> None:
        """Introduce ourselves on an open socket."""

    def disconnect(self) -> None:
        """Close; safe twice."""

    def can_read(self, timeout: float) -> bool:
        """Say whether anything came unasked; raises if the other end has closed."""

    def pack_commands(self, commands: Sequence[Command]) -> list[bytes]:
        """Write commands as bytes."""

    def send_packed_command(self, command: list[bytes], *, check_health: bool) -> None:
        """Hand bytes to the kernel."""

    def read_response(self) -> Any:
        """Read one answer."""


class Deadline:
    """A moment by which a call has to be over, on the monotonic clock."""

    __slots__ = ("_at_s", "span_s")

    def __init__(self, span_s: float) -> None:
        """Begin now."""
        self.span_s = span_s
        self._at_s = time.monotonic() + span_s

    def left_s(self) -> float:
        """Give the seconds left, never quite nothing: a timeout of 0 would mean non-blocking."""
        return max(_LEAST_TIMEOUT_S, self._at_s - time.monotonic())


class Link:
    """The connections of one client; safe for threads. After a fork the child makes itself a new one."""

    def __init__(self, url: str, deadline_s: float) -> None:
        """Check the URL; nothing is connected before the first call."""
        self.url = url
        self.deadline_s = deadline_s
        self._class, self._settings = connection_settings(ConnectionPool, url)
        self._idle: list[RawConnection] = []  # only append and pop, which are atomic
        self._closed = False

    def call(self, command: Command) -> Any:
        """Send one command and return its answer.

        Raises ServerUnavailableError (not sent, refused, or the connection broke) or EnqueueTimeoutError
        (sent, and no answer within the deadline); NoScriptError of redis-py where a script is called by its
        digest.
        """
        return self.call_all([command])[0]

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go and return their answers."""
        deadline = Deadline(self.deadline_s)
        connection = self._send(commands, deadline)
        try:
            return self._receive(connection, commands, deadline)
        finally:
            self._give_back(connection)

    def connect(self, wanted_for: Command, deadline: Deadline) -> RawConnection:
        """Open a connection of the caller's own."""

        def handshake(connection: RawConnection) -> None:
            connection.socket_timeout = None
            _limit(connection, deadline)
            connection.on_connect()

        connection: RawConnection = self._class(**self._settings, redis_connect_func=handshake)
        connection.socket_connect_timeout = deadline.left_s()
        connection.socket_timeout = deadline.left_s()  # what is left for TLS, which comes before the handshake
        try:
            connection.connect()
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise unreachable(wanted_for, error, self.url) from error
        return connection

    def ask(self, connection: RawConnection, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """Do as `call_all`, on a connection of the caller's own; after a refusal it is still good."""
        try:
            _write(connection, commands, deadline)
        except (RedisError, OSError) as error:
            raise unreachable(commands[0], error, self.url) from error
        return self._receive(connection, commands, deadline)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.disconnect()

    def _send(self, commands: Sequence[Command], deadline: Deadline) -> RawConnection:
        """Send on a kept connection, and if that one is dead, once more on a new one."""
        kept = self._take_healthy()
        if kept is not None:
            with suppress(RedisError, OSError):
                _write(kept, commands, deadline)
                return kept
        connection = self.connect(commands[0], deadline)
        try:
            _write(connection, commands, deadline)
        except (RedisError, OSError) as error:
            raise unreachable(commands[0], error, self.url) from error
        return connection

    def _receive(self, connection: RawConnection, commands: Sequence[Command], deadline: Deadline) -> list[Any]:
        """Read one answer for each command; the first refusal is raised once all have been read."""
        answers: list[Any] = []
        try:
            while len(answers) < len(commands) and _is_open(connection):
                answers.append(_answer(connection, deadline))
        except (RedisError, OSError) as error:
            raise unanswered(commands[len(answers)], error, self.url, deadline.span_s) from error
        return accepted(commands, answers, self.url)

    def _take_healthy(self) -> RawConnection | None:
        while (connection := self._pop()) is not None:
            with suppress(RedisError, OSError):  # closed by the server while it was idle
                if not connection.can_read(0):
                    return connection
            connection.disconnect()
        return None

    def _pop(self) -> RawConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _give_back(self, connection: RawConnection) -> None:
        if not _is_open(connection):  # redis-py has closed it: after any error and any interrupt in mid-answer
            return
        if self._closed or len(self._idle) >= _KEPT_IDLE:
            connection.disconnect()
        else:
            self._idle.append(connection)


def _write(connection: RawConnection, commands: Sequence[Command], deadline: Deadline) -> None:
    """Hand all bytes to the kernel, or fail; a command of which bytes are missing is run by nobody."""
    _limit(connection, deadline)
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)


def _answer(connection: RawConnection, deadline: Deadline) -> Any:
    """Read one answer; a refusal is an answer too, also one after which redis-py ends the connection."""
    _limit(connection, deadline)
    try:
        return connection.read_response()
    except (ResponseError, *REFUSALS) as refusal:
        return refusal


def _limit(connection: RawConnection, deadline: Deadline) -> None:
    """Let the next operations on the socket take no longer than what is left."""
    if connection._sock is not None:  # noqa: SLF001
        connection._sock.settimeout(deadline.left_s())  # noqa: SLF001


def _is_open(connection: RawConnection) -> bool:
    return connection._sock is not None  # noqa: SLF001
