"""The daemon over HTTP: its health, metrics and status, on a TCP port, a unix socket, or both.

The supervisor starts one `HealthServer` in its own loop and hands it something that answers from memory: a
request never waits for Redis, a worker or a lock. A port that is taken is a warning, never the end of a
daemon. What is answered is in `webapp`. Starlette, uvicorn and prometheus-client are imported when the server
starts, so that nobody else pays for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workd import activation
from workd.address import Address, TcpAddress, UnixAddress, of_instance, parse
from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import uvicorn

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """One answer: `reasons` say why not, one short sentence each; `details` are figures for people."""

    ok: bool
    reasons: Sequence[str] = ()
    details: Mapping[str, object] = field(default_factory=dict)


class HealthState(Protocol):
    """Who knows how the daemon is. Both answer at once, from memory."""

    def live(self) -> Report:
        """Tell whether the daemon works at all; if not, only a restart helps."""
        ...

    def ready(self) -> Report:
        """Tell whether it can run jobs now."""
        ...

    def consuming(self) -> Report:
        """Tell whether it takes jobs."""
        ...


class Pages(Protocol):
    """Who writes the pages that are more than a yes or no. Both wait for nobody but the loop's other work."""

    metrics_type: str

    async def metrics(self) -> bytes:
        """Write `/metrics`, as `metrics_type`."""
        ...

    async def status(self) -> Mapping[str, object]:
        """Say what is in `/status`."""
        ...


def addresses(http: str, environ: Mapping[str, str], pid: int) -> tuple[Address, ...]:
    """List where to answer: what the setting says, and this daemon's own socket beside it."""
    if not http:
        return ()
    own = of_instance(environ, pid)
    return (parse(http),) if own is None else (parse(http), own)


class HealthServer:
    """Serves one state on some addresses, from `start` to `stop`; each is safe twice."""

    def __init__(self, state: HealthState, where: Sequence[Address], pages: Callable[[], Pages] | None = None) -> None:
        """`pages` makes those when the server starts; without it only health is answered."""
        self._state = state
        self._pages = pages
        self._where = tuple(where)
        self._sockets: dict[Address, socket.socket] = {}
        self._handed: dict[Address, socket.socket] = {}  # those that systemd has opened, and keeps
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> tuple[Address, ...]:
        """Open what can be opened and answer there; returns the addresses, with the port where 0 was asked."""
        if self._serving is None:
            self._handed = activation.take(os.environ, os.getpid())
            where = [address for address in self._where if not activation.answers(address, self._handed)]
            self._sockets = self._handed | dict(_open_all(where))
            if self._sockets:
                await self._serve(_make_server(self._state, self._pages() if self._pages is not None else None))
        return tuple(self._sockets)

    async def _serve(self, server: uvicorn.Server) -> None:
        """Start uvicorn and wait until it listens: stopped any earlier, it would leave sockets open."""
        listeners = list(self._sockets.values())
        self._server = server
        self._serving = asyncio.create_task(server.serve(sockets=listeners), name="health")
        while not server.started:
            if self._serving.done():
                await self._serving  # raises what went wrong
                return
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Close the sockets, after the answers that are being written: a second at most."""
        serving, self._serving = self._serving, None
        if serving is None or self._server is None:
            return
        self._server.should_exit = True
        await serving
        for address, listener in self._sockets.items():
            listener.close()
            if isinstance(address, UnixAddress) and address not in self._handed:
                _unlink(address.path)
        self._sockets = {}


def _make_server(state: HealthState, pages: Pages | None) -> uvicorn.Server:
    import uvicorn

    from workd.webapp import ImpatientProtocol, make_app

    class Server(uvicorn.Server):
        """uvicorn's server, less its signal handlers: signals are the supervisor's."""

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

    # h11 and no websockets: what is installed beside us must not change what listens here.
    config: dict[str, Any] = {"http": ImpatientProtocol, "ws": "none", "lifespan": "off", "interface": "asgi3"}
    quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False}
    return Server(
        uvicorn.Config(make_app(state, pages), **config, **quiet, server_header=False, timeout_graceful_shutdown=1)
    )


def _open_all(where: Sequence[Address]) -> Generator[tuple[Address, socket.socket], None, None]:
    for address in where:
        try:
            listener = _open_tcp(address) if isinstance(address, TcpAddress) else _open_unix(address)
        except OSError as error:
            _log.warning("health is not answered here", address=str(address), error=error.strerror or str(error))
            continue
        if isinstance(address, TcpAddress):
            yield TcpAddress(address.host, listener.getsockname()[1]), listener
        else:
            yield address, listener


def _open_tcp(address: TcpAddress) -> socket.socket:
    family, *_ = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    return socket.create_server((address.host, address.port), family=family)


def _open_unix(address: UnixAddress) -> socket.socket:
    """Bind a unix socket, in a directory that is there. What a dead process left is replaced, no other file is."""
    _remove_if_stale(address.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address.path)
    except OSError:
        listener.close()
        raise
    Path(address.path).chmod(0o660)
    listener.listen()  # from here on nobody is refused, even before the loop's next turn
    return listener


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _remove_if_stale(path: str) -> None:
    """Unlink a socket on which nobody listens; leave everything else, so that `bind` says it is taken."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)  # a listener that does not accept has a full backlog: it is alive
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            _unlink(path)
        except OSError:
            return
