"""One socket to Redis: bytes out, answers in, and no wait longer than a deadline.

Owned here: the use of a socket that redis-py has opened and introduced (URL, TLS, password, database). From then on
hiredis reads the answers and redis-py is asked for nothing but to close: what it does around a command costs several
times what the command does. Called by link.py, which says what an error means.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import hiredis
from redis.connection import Connection as RedisConnection
from redis.connection import SSLConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoScriptError,
    ResponseError,
)

from workd.client.dialing import dial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.commands import Command

REFUSALS: Final = (BusyLoadingError, AuthenticationError, AuthorizationError)
"""What Redis says no with, but redis-py takes for a broken connection."""

_UNLIMITED_S: Final = 86_400.0  # of a connection that was given no deadline
_LEAST_TIMEOUT_S: Final = 0.001
_LATE_PART: Final = 1.01
_READ_BYTES: Final = 65_536
_NOTHING: Final = object()


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

    def half(self) -> Deadline:
        """Give a deadline when half of what is left will be gone; it calls itself by the whole span."""
        sooner = Deadline(self.left_s() / 2)
        sooner.span_s = self.span_s
        return sooner


class Hurried:
    """A socket for redis-py to introduce itself on: however many answers that takes, it ends with the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        """Lend `sock`."""
        self.lent = sock
        self._deadline = deadline

    def recv_into(self, buffer: bytearray) -> int:
        """Do as the socket. TimeoutError also if an answer comes in crumbs, each of them in time."""
        return self._in_time().recv_into(buffer)

    def sendall(self, packed: bytes) -> None:
        """Do as the socket."""
        self._in_time().sendall(packed)

    def __getattr__(self, name: str) -> Any:
        """Leave the rest, such as to close, to the socket."""
        return getattr(self.lent, name)

    def _in_time(self) -> socket.socket:
        left_s = self._deadline.left_s()
        if left_s <= _LEAST_TIMEOUT_S:
            raise TimeoutError("no whole answer in time")
        self.lent.settimeout(left_s)
        return self.lent


class RawConnection(Protocol):
    """What is used of redis-py's connections, which have few type hints of their own."""

    _sock: socket.socket | Hurried | None
    """No release of redis-py has a public way to it."""

    def connect(self) -> None:
        """Open the socket and introduce ourselves."""

    def on_connect(self) -> None:
        """Introduce ourselves on an open socket."""

    def disconnect(self) -> None:
        """Close; safe twice, and harmless to the parent's socket in a forked child."""


@cache
def timely(connection_class: type[Any]) -> Callable[..., TimelyConnection]:
    """Make of one of redis-py's connection classes one whose every step ends with its deadline.

    redis-py gives the whole of a timeout to each step, TLS for one; here it is told, whenever it asks, what is left.
    Finding somebody behind a name is not left to it: see dialing.py.
    """

    class Timely(connection_class):  # type: ignore[misc]  # a class that is known when it runs
        deadline: Deadline | None = None

        @property
        def socket_timeout(self) -> float | None:
            return None if self.deadline is None else self.deadline.left_s()

        @socket_timeout.setter
        def socket_timeout(self, value: float | None) -> None:
            """Take nothing: what a URL says of it does not count either."""

        @property
        def socket_connect_timeout(self) -> float | None:
            return self.socket_timeout

        @socket_connect_timeout.setter
        def socket_connect_timeout(self, value: float | None) -> None:
            """Take nothing, either."""

    if not issubclass(connection_class, RedisConnection):
        return Timely  # a unix socket has no name

    class Dialing(Timely):
        def _connect(self) -> socket.socket:
            keepalive = self.socket_keepalive_options if self.socket_keepalive else None
            deadline = self.deadline or Deadline(_UNLIMITED_S)
            sock = dial(self.host, self.port, self.socket_type, deadline, keepalive)
            sock.settimeout(deadline.left_s())
            if not issubclass(connection_class, SSLConnection):
                return sock
            try:
                encrypted: socket.socket = self._wrap_socket_with_ssl(sock)
            except BaseException:  # an interrupt, too
                sock.close()
                raise
            return encrypted

    return Dialing


class TimelyConnection(RawConnection, Protocol):
    """What `timely` makes."""

    deadline: Deadline | None


class Connection:
    """An open connection, used by one thread at a time. After any error it is to be closed.

    Its methods raise OSError (TimeoutError: the deadline; ConnectionError: the other end has gone) and
    InvalidResponse (that is no Redis).
    """

    __slots__ = ("_opened", "_reader", "_sock", "_timeout_s", "_watched")

    def __init__(self, opened: RawConnection) -> None:
        """Take over what redis-py has opened. ConnectionError if it has been closed again."""
        sock = opened._sock  # noqa: SLF001 - see RawConnection
        if not isinstance(sock, socket.socket):
            raise ConnectionAbortedError("it was closed at once")
        self._opened = opened
        self._sock = sock
        self._timeout_s = 0.0  # none of ours yet
        self._watched = select.poll()
        self._watched.register(sock, select.POLLIN)
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_refusal, notEnoughData=_NOTHING)

    def is_quiet(self) -> bool:
        """Say whether nothing came unasked: what can be read now is a farewell, or an answer that is not ours."""
        return not (self._watched.poll(0) or self._reader.has_data())

    def send(self, packed: bytes, deadline: Deadline) -> None:
        """Hand all bytes to the kernel, or fail; a command of which bytes are missing is run by nobody."""
        self._limit(deadline.left_s())
        self._sock.sendall(packed)

    def read(self, deadline: Deadline) -> Any:
        """Read one answer; a refusal is an answer too, and is returned: redis-py's ResponseError or NoScriptError."""
        is_last_look = False
        while (answer := self._reader.gets()) is _NOTHING:
            if is_last_look:  # else an answer that comes in crumbs would outlast any deadline
                raise TimeoutError("no whole answer in time")
            left_s = deadline.left_s()
            is_last_look = left_s <= _LEAST_TIMEOUT_S
            self._limit(left_s)
            received = self._sock.recv(_READ_BYTES)
            if not received:
                raise ConnectionResetError("the server has closed it")
            self._reader.feed(received)
        return answer

    def interrupt(self) -> None:
        """End a read that is under way in another thread: it fails."""
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # TLS's own would change what the reader is using

    def close(self) -> None:
        """Close; safe twice."""
        self._opened.disconnect()

    def _limit(self, left_s: float) -> None:
        """Let the next operation take no longer than what is left.

        A hundredth more is let pass, which spares a system call: in a quick call next to nothing of the time is gone.
        """
        if not left_s <= self._timeout_s <= left_s * _LATE_PART:
            self._sock.settimeout(left_s)
            self._timeout_s = left_s


def pack(commands: Sequence[Command]) -> bytes:
    """Write commands as bytes."""
    if len(commands) == 1:
        return _packed(commands[0])
    return b"".join(map(_packed, commands))


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub says one element, it takes more
    return packed


def _refusal(text: str) -> ResponseError:
    """Make an exception of a refusal; unlike redis-py, for which some of them are broken connections."""
    return (NoScriptError if text.startswith("NOSCRIPT") else ResponseError)(text)
