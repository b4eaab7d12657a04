"""The supervisor's handle on a forkserver: start it, ask it, notice its end.

Making one needs no event loop, so that the process starts before anything heavy is imported; `attach` joins it to the
loop. Used by `core.py` alone. Never blocks: every request is a packet, every answer comes through a callback or a
future.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from workd import faultpoints
from workd.errors import BootError, PoolError
from workd.pool import control, frames
from workd.pool.interpreter import DAEMON_VARIABLES, command
from workd.pool.lifeline import Lifeline
from workd.pool.requests import ExitStatus, Forked, ForkserverDiedError, Loaded
from workd.pool.server_process import fork_this_process, start_interpreter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from workd.pool.channel import Channel
    from workd.pool.child.worker import Runner
    from workd.pool.requests import LoadSpec
    from workd.pool.server_process import ServerProcess

    Callback = Callable[..., None]


class _EarlyFork(NamedTuple):
    ticket: int
    channel: Channel


class Forkserver:
    """One forkserver process, from launch to its end."""

    def __init__(
        self,
        lifeline: Lifeline | None = None,
        hidden_variables: Collection[str] = DAEMON_VARIABLES,
        template: Runner | None = None,
    ) -> None:
        """Start the process at once. A pool's forkservers hang on one lifeline, which outlives each of them.

        With `template` it is a fork of this very process, whose workers run jobs with that runner: for the start method
        `fork`. Only the thread that calls goes on in the child.
        """
        self.lifeline = lifeline or Lifeline()
        self._hidden_variables = hidden_variables
        self._template = template
        with contextlib.ExitStack() as on_failure:
            if lifeline is None:
                on_failure.callback(self.lifeline.close)
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            on_failure.callback(self._control.close)
            with theirs:
                self._process = self._start_process(theirs)
            on_failure.pop_all()
        self.pid = self._process.pid
        self.alive = True
        self._closed = False  # by us, in contrast to a death
        self._control.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._load: asyncio.Future[Loaded] | None = None
        self._is_load_requested = False
        self._early: dict[int, _EarlyFork] = {}
        self.importing = ""  # the module that it imports now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_death: Callable[[Forkserver], None] | None = None

    def successor(self) -> Forkserver:
        """Start the process that takes the place of this one, after its death."""
        return Forkserver(self.lifeline, self._hidden_variables, self._template)

    def _start_process(self, theirs: socket.socket) -> ServerProcess:
        if self._template is not None:
            return fork_this_process(self._template, self._control, theirs, self.lifeline.read_fd)
        return start_interpreter((theirs.fileno(), self.lifeline.read_fd), self._hidden_variables)

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_death: Callable[[Forkserver], None],
        guarded: Callable[[Callback], Callback],
    ) -> None:
        """Read the answers in `loop`; call `on_death` once when the process ends unasked.

        `guarded` makes a callback for the loop of one that must not raise.
        """
        self._loop = loop
        self._on_death = on_death
        for early in self._early.values():
            self._waiting.setdefault(early.ticket, loop.create_future())
        if not self.alive:
            self._fail_all(ForkserverDiedError("the forkserver died"))
            loop.call_soon(guarded(on_death), self)
            return
        loop.add_reader(self._control.fileno(), guarded(self._read))

    def request_load(self, spec: LoadSpec) -> None:
        """Ask it for what `load` waits for, before there is a loop: it need not wait for this process to be ready."""
        self._is_load_requested = True
        request = {**spec._asdict(), "options": dict(spec.options), "command": command()}
        fd = frames.spill(json.dumps(request).encode())
        try:
            with contextlib.suppress(ForkserverDiedError):  # `load` says so
                self._send({"op": "load"}, (fd,))
        finally:
            os.close(fd)

    async def load(self, spec: LoadSpec) -> Loaded:
        """Have it import what `spec` names. Raises `BootError` with module, line and traceback."""
        self._load = self._running_loop().create_future()
        if not self._is_load_requested:
            self.request_load(spec)
        self._is_load_requested = False
        if not self.alive:
            self._load.set_exception(ForkserverDiedError("the forkserver died"))
        try:
            return await self._load
        except ForkserverDiedError:
            if self._closed:
                raise
            how = await self._process.how_it_ended()
        if self.importing:
            raise BootError(self.importing, f"the process that imports it {how}")
        raise BootError("", f"the process that loads the task modules {how}")

    def request_fork(self, slot: int, channel: Channel, nice: int = 0) -> None:
        """Ask for a worker before there is a loop; `early_fork` then gives the answer. Takes over `channel`."""
        ticket = next(self._tickets)
        try:
            self._send({"op": "fork", "slot": slot, "nice": nice, "ticket": ticket}, (channel.worker_end.fileno(),))
        except PoolError:
            channel.close()  # it is asked again, and says so then
        else:
            self._early[slot] = _EarlyFork(ticket, channel)

    def early_fork(self, slot: int) -> tuple[Channel, asyncio.Future[Forked]] | None:
        """Return channel and answer of a worker that was asked for with `request_fork`, once."""
        early = self._early.pop(slot, None)
        if early is None:
            return None
        answer = self._waiting[early.ticket]
        answer.add_done_callback(lambda _: self._waiting.pop(early.ticket, None))
        return early.channel, answer

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
        for slot in list(self._early):
            self._drop_early(self._early.pop(slot))
        self._fail_all(ForkserverDiedError("the pool was stopped"))

    def _drop_early(self, early: _EarlyFork) -> None:
        """Give up a worker that nobody took over: it leaves when its channel closes."""
        early.channel.close()
        answer = self._waiting.get(early.ticket)
        if answer is not None and answer.done() and answer.exception() is None:
            os.close(answer.result().pidfd)

    async def gone(self, patience_s: float) -> None:
        """After `close`: wait for its end, and kill it if it does not leave in time (a thread of a module…)."""
        await self._process.gone(patience_s)

    def wait(self, patience_s: float) -> None:
        """Do the same where there is no loop, or none any more."""
        self._process.wait(patience_s)

    def kill(self) -> None:
        """End a process that does not answer; `on_death` follows."""
        self._process.kill()

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
            faultpoints.hit(f"supervisor_asked_{packet['op']}")
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
            control.send(self._control, packet, fds)
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
            received = control.receive(self._control)
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
                self.importing = packet["module"]
            case "load-answer" if fds:
                self._take_load_answer(fds[0])
            case "forked" if fds:
                self._resolve(packet, Forked(packet["pid"], fds[0]))
            case "load-answer":
                self.kill()  # nobody can know what it loaded
            case "forked":
                self._discard(packet["pid"])
                self._resolve(packet, PoolError("no file descriptor is left for a worker; raise the limit (ulimit -n)"))
            case "fork-failed":
                self._resolve(packet, PoolError(f"no worker could be forked: {packet['message']}"))
            case "reaped":
                self._resolve(packet, ExitStatus(packet["status"], packet["peak_rss_bytes"]))

    def _resolve(self, packet: dict[str, Any], answer: object) -> None:
        future = self._waiting.get(packet["ticket"])
        if future is None or future.done():
            if isinstance(answer, Forked):  # nobody waits any more (the pool is stopping): the worker must not stay
                os.close(answer.pidfd)
                self._discard(answer.pid)
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _discard(self, pid: int) -> None:
        with contextlib.suppress(PoolError):  # then it leaves by itself: its channel is closed
            self._send({"op": "discard", "pid": pid})

    def _take_load_answer(self, fd: int) -> None:
        answer = json.loads(frames.read_body(fd))
        if self._load is None or self._load.done():
            return
        if answer["event"] == "loaded":
            self._load.set_result(Loaded(answer["catalogue"], tuple(answer["threads"])))
        else:
            self._load.set_exception(BootError(answer["module"], answer["cause"], answer["traceback"]))

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
        early = {early.ticket for early in self._early.values()}  # somebody will ask for these
        self._waiting = {ticket: future for ticket, future in self._waiting.items() if ticket in early}
