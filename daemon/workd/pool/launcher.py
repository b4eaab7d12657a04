"""The supervisor's handle on a forkserver: start it, ask it, notice its end.

`launch` needs no event loop, so that the process starts before anything heavy is imported; `attach` joins it to the
loop. Used by `core.py` alone. Never blocks: every request is a packet, every answer comes through a callback or a
future.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from workd.errors import BootError, PoolError
from workd.pool import forkserver, frames
from workd.pool.deaths import read_status
from workd.pool.interpreter import DAEMON_VARIABLES, start_interpreter
from workd.pool.lifeline import Lifeline

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection


_EXIT_PATIENCE_S: Final = 1.0  # between the end of a process' socket and its exit status


class ForkserverDiedError(PoolError):
    """The forkserver ended while it was asked for something."""


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What a forkserver loads: modules, the factory of the runner and its options, and where to look for modules."""

    runner: str
    modules: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a forkserver answers to a load: the catalogue, and threads that the modules left running."""

    catalogue: dict[str, Any]
    threads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forked:
    """A new process: its pid, and a descriptor that stays its own when the pid is reused."""

    pid: int
    pidfd: int


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """What wait4 said of a process; None where nobody could ask it."""

    status: int | None
    peak_rss_bytes: int | None


class Forkserver:
    """One forkserver process, from launch to its end."""

    def __init__(self, lifeline: Lifeline | None = None, hidden_variables: Collection[str] = DAEMON_VARIABLES) -> None:
        """Start the process at once. A pool's forkservers hang on one lifeline, which outlives each of them."""
        self.lifeline = lifeline or Lifeline()
        self._hidden_variables = hidden_variables
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fds = (theirs.fileno(), self.lifeline.read_fd)
            self._process = start_interpreter(fds, hidden_variables)
        self.pid = self._process.pid
        self.alive = True
        self._closed = False  # by us, in contrast to a death
        self._control.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._load: asyncio.Future[Loaded] | None = None
        self._importing = ""  # the module that it imports now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_death: Callable[[Forkserver], None] | None = None

    def successor(self) -> Forkserver:
        """Start the process that takes the place of this one, after its death."""
        return Forkserver(self.lifeline, self._hidden_variables)

    def attach(self, loop: asyncio.AbstractEventLoop, on_death: Callable[[Forkserver], None]) -> None:
        """Read the answers in `loop`; call `on_death` once when the process ends unasked."""
        self._loop = loop
        self._on_death = on_death
        if not self.alive:
            loop.call_soon(on_death, self)
            return
        loop.add_reader(self._control.fileno(), self._read)

    async def load(self, spec: LoadSpec) -> Loaded:
        """Have it import what `spec` names. Raises `BootError` with module, line and traceback."""
        self._load = self._running_loop().create_future()
        request = {"path": spec.path, "modules": spec.modules, "runner": spec.runner, "options": spec.options}
        fd = frames.spill(json.dumps(request).encode())
        try:
            self._send({"op": "load"}, (fd,))
        finally:
            os.close(fd)
        try:
            return await self._load
        except ForkserverDiedError:
            if self._closed:
                raise
            how = await self._how_it_ended()
        if self._importing:
            raise BootError(self._importing, f"the process that imports it {how}")
        raise BootError("", f"the process that loads the task modules {how}")

    async def fork(self, slot: int, channel_fd: int, nice: int) -> Forked:
        """Make a worker for `slot` that serves the socket `channel_fd`. Raises `PoolError` when it can't."""
        forked: Forked = await self._ask({"op": "fork", "slot": slot, "nice": nice}, (channel_fd,))
        return forked

    async def reap(self, pid: int) -> ExitStatus:
        """Take the exit status of a process that is known to have ended."""
        try:
            status: ExitStatus = await self._ask({"op": "reap", "pid": pid})
        except ForkserverDiedError:
            return ExitStatus(None, None)
        return status

    def close(self) -> None:
        """Let the process go: it leaves when its socket closes. Its workers live on. Safe to call twice."""
        self.alive = False
        self._closed = True
        self._close_control()
        self._fail_all(ForkserverDiedError("the pool was stopped"))

    def wait(self, timeout_s: float) -> None:
        """After `close`: take the process' exit status, and kill it if it does not leave (a thread of a module…)."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End a process that does not answer; `on_death` follows."""
        self._process.kill()

    async def _how_it_ended(self) -> str:
        import asyncio

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_PATIENCE_S):
                while self._process.poll() is None:  # noqa: ASYNC110 - a child's end sets no event here
                    await asyncio.sleep(0.005)
        code = self._process.returncode
        if code is None:
            return "closed its connection to the supervisor"
        if code >= 0:
            return f"left with exit code {code}"
        _, signal_name = read_status(-code)
        return f"was killed by {signal_name}"

    def _close_control(self) -> None:
        if self._control.fileno() < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._control.fileno())
        with contextlib.suppress(OSError):
            # Closing alone is not enough where the host program has forked: its child holds a copy.
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()

    async def _ask(self, packet: dict[str, Any], fds: tuple[int, ...] = ()) -> Any:
        ticket = next(self._tickets)
        future = self._running_loop().create_future()
        self._waiting[ticket] = future
        try:
            self._send(packet | {"ticket": ticket}, fds)
            return await future
        finally:
            self._waiting.pop(ticket, None)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            msg = "the forkserver is not attached to an event loop"
            raise PoolError(msg)
        return self._loop

    def _send(self, packet: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        if not self.alive:
            msg = "the forkserver is gone"
            raise ForkserverDiedError(msg)
        try:
            forkserver.send(self._control, packet, fds)
        except (BrokenPipeError, ConnectionResetError):
            self._died()
            msg = "the forkserver died"
            raise ForkserverDiedError(msg) from None
        except BlockingIOError:
            # It is busy (an import, a slow fork) and hundreds of packets wait already: the caller backs off.
            msg = "the forkserver does not read its requests"
            raise PoolError(msg) from None
        except OSError as error:
            msg = f"the forkserver can't be asked: {error.strerror}"
            raise PoolError(msg) from error

    def _read(self) -> None:
        try:
            received = forkserver.receive(self._control)
        except BlockingIOError:
            return
        except ConnectionResetError:
            received = None
        if received is None:
            self._died()
            return
        self._take(*received)

    def _take(self, packet: dict[str, Any], fds: list[int]) -> None:
        match packet["event"]:
            case "importing":
                self._importing = packet["module"]
            case "load-answer" if fds:
                self._take_load_answer(fds[0])
            case "forked" if fds:
                self._resolve(packet, Forked(packet["pid"], fds[0]))
            case "load-answer":
                self.kill()  # nobody can know what it loaded
            case "forked":
                # The worker leaves by itself: its channel is closed at this answer.
                self._resolve(packet, PoolError("no file descriptor is left for a worker; raise the limit (ulimit -n)"))
            case "fork-failed":
                self._resolve(packet, PoolError(f"no worker could be forked: {packet['message']}"))
            case "reaped":
                self._resolve(packet, ExitStatus(packet["status"], packet["peak_rss_bytes"]))

    def _resolve(self, packet: dict[str, Any], answer: object) -> None:
        future = self._waiting.pop(packet["ticket"], None)
        if future is None or future.done():
            if isinstance(answer, Forked):  # nobody waits any more (the pool is stopping): the worker must not stay
                os.close(answer.pidfd)
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _take_load_answer(self, fd: int) -> None:
        answer = json.loads(frames.read_body(fd))
        if self._load is None or self._load.done():
            return
        if answer["event"] == "loaded":
            self._load.set_result(Loaded(answer["catalogue"], tuple(answer["threads"])))
        else:
            self._load.set_exception(BootError(answer["module"], _cause(answer), answer["traceback"]))

    def _died(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self._close_control()
        self._process.poll()
        self._fail_all(ForkserverDiedError("the forkserver died"))
        if self._on_death is not None:
            self._on_death(self)

    def _fail_all(self, error: Exception) -> None:
        for future in [*self._waiting.values(), self._load]:
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # a caller that was cancelled meanwhile must not leave a warning behind
        self._waiting.clear()


def _cause(answer: dict[str, str]) -> str:
    """Put what a failed load says into one line."""
    words = ": ".join(filter(None, (answer["type"], answer["message"])))
    return f"{words} ({answer['place']})" if answer["place"] else words
