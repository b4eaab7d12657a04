"""A worker whose tasks are coroutine functions: its event loop, and how packets come to it.

Made by `worker.serve` with the first packet for it. The loop is there as long as the worker, so that what tasks and the
hooks of the worker keep in it (connection pools, for one) lives on from job to job. From then on the worker waits for
packets in the loop. Those that are for it are started there: side by side where they say so, else one at a time. All
others go back to `serve`, once nothing runs here: a plain function never runs inside the loop.

    next_plain ── run_forever ── readable ── claim ──┬── for the loop ── _start ── _run ── _ended ── frame
                                                     └── plain, or the end of the stream ── back to `serve`

The supervisor decides how many run at once, by handing over no more. A packet that has to wait for those that run is
not read before they have ended: until then it can be taken back.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from workd import faultpoints
from workd.pool import board, frames
from workd.pool.child import alarm, limits, stacks, whereabouts

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context

    from workd.pool.child.result_queue import ResultQueue

LEFTOVER_PATIENCE_S: Final = 5.0  # what a run left behind may take so long to be cancelled
LOOK_AGAIN_S: Final = 0.02  # after so long the supervisor may have changed its mind about what waits
_ONE_FD_BYTES: Final = socket.CMSG_SPACE(4)

Packet = tuple[int, list[tuple[int, int, bytes]], int, Any]
"""What `socket.recvmsg_into` returns: size, ancillary data, flags, address."""
Tasks = set["asyncio.Task[Any]"]

_own: list[asyncio.AbstractEventLoop] = []
_children: Final[ContextVar[Tasks]] = ContextVar("workd.pool.child.looping.children")
"""The asyncio tasks that the run in whose context we are has made, and that are not done."""


class AsyncRunner(Protocol):
    """What turns the body of a packet into an outcome, in the loop."""

    def run_async(self, key: int, body: memoryview, soft_timeout_s: float) -> Coroutine[Any, Any, tuple[int, bytes]]:
        """Run one job; return the kind of frame and its payload. Must not raise for anything that a task does."""

    def interrupt(self, key: int) -> bool:
        """Raise `SoftTimeout` in a job that has a soft timeout; False for any other."""

    def cut_off(self, body: memoryview, error: BaseException) -> tuple[int, bytes]:
        """Return the outcome of a job whose run was cancelled before it could begin."""


class LoopWork:
    """The event loop of one worker and what runs in it."""

    def __init__(
        self, channel: socket.socket, results: ResultQueue, runner: AsyncRunner, buffer: bytearray, first: Packet
    ) -> None:
        """Make the loop and start what the `first` packet, which is in `buffer`, asks for."""
        self._channel = channel
        self._results = results
        self._runner = runner
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._own_pid = os.getpid()
        self._running: dict[int, asyncio.Task[tuple[int, bytes]]] = {}  # by key
        self._cancelled: set[int] = set()  # those of them that were cancelled
        self._waiting: Packet | None = None  # claimed, and for `serve`
        self._broken: BaseException | None = None
        self._is_listening = False
        self._runs_alone = False
        self._is_full = False  # nothing more may start before all that runs here has ended
        self._loop = own_loop()
        alarm.on_loop = self._on_order
        stacks.runs_on_loop = self._runs
        self._start(first)

    # ── packets ─────────────────────────────────────────────────────────────────────────────────────────────────

    def next_plain(self, *_as_recvmsg_into: object) -> Packet:
        """Run the loop until there is a packet for `serve` in the buffer; stands in for the socket's `recvmsg_into`."""
        self._waiting = None
        if not self._running and (packet := self._claim()) is not None:
            self._sort(packet)  # one plain job after the other does not go through the loop
        while (waiting := self._ready()) is None:
            self._listen()
            # A task of the user's own making that raises these ends the loop's turn; who waits for it hears of it, too.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
            if self._broken is not None:
                raise self._broken
        if not waiting[0]:
            alarm.on_loop = stacks.runs_on_loop = None
        return waiting

    def _ready(self) -> Packet | None:
        """Return what `serve` may have now."""
        return None if self._running else self._waiting

    def _claim(self) -> Packet | None:
        faultpoints.hit("before_claim")
        try:
            return self._channel.recvmsg_into(
                [self._buffer], _ONE_FD_BYTES, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None  # it was taken back

    def _sort(self, packet: Packet) -> None:
        """Start what is for the loop, and keep what is not until nothing runs here any more."""
        if packet[0] and frames.PACKET_HEAD.unpack_from(self._buffer)[1] & frames.ON_LOOP:
            faultpoints.hit("after_claim")
            self._start(packet)
        else:
            self._waiting = packet
            self._unlisten()
            self._stop_if_done()

    def _is_to_wait(self) -> bool:
        """Say whether the next packet has to wait until nothing runs here any more; it is looked at, not claimed."""
        try:
            head = self._channel.recv(frames.PACKET_HEAD.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return len(head) == frames.PACKET_HEAD.size and not frames.PACKET_HEAD.unpack(head)[1] & frames.BESIDE

    def _on_readable(self) -> None:
        try:
            self._leave_if_forked()
            if self._running and self._is_to_wait():
                self._is_full = True
                self._unlisten()
                self._loop.call_later(LOOK_AGAIN_S, self._look_again)
            elif (packet := self._claim()) is not None:
                self._sort(packet)
        except BaseException as error:  # noqa: BLE001 - the loop would log it and call again: this worker is broken
            self._break(error)

    def _look_again(self) -> None:
        """See whether the packet that has to wait was taken back, and others came for it."""
        if self._running and not self._runs_alone:
            self._is_full = False
            self._listen()

    def _listen(self) -> None:
        if not (self._is_listening or self._is_full or self._waiting):
            self._is_listening = True
            self._loop.add_reader(self._channel, self._on_readable)

    def _unlisten(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self._loop.remove_reader(self._channel)

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, packet: Packet) -> None:
        key, flags = frames.PACKET_HEAD.unpack_from(self._buffer)
        soft_timeout_s, memory_bytes, start = 0.0, 0, frames.PACKET_HEAD.size
        if flags & frames.LIMITED:
            soft_timeout_s, memory_bytes = frames.LIMITS.unpack_from(self._buffer, start)
            start += frames.LIMITS.size
        body = memoryview(bytes(self._view[start : packet[0]]))  # the buffer is the next packet's
        if flags & frames.SPILLED:
            from workd.pool.child.worker import read_spilled  # which imports this module

            body = read_spilled(packet[1])
        before = None
        if not flags & frames.BESIDE:
            self._is_full = self._runs_alone = True
            self._unlisten()
            before = limits.impose(memory_bytes) if memory_bytes else None
        run = self._loop.create_task(self._run(key, body, soft_timeout_s))
        self._running[key] = run
        run.add_done_callback(partial(self._ended, key, body, time.time(), before))

    async def _run(self, key: int, body: memoryview, soft_timeout_s: float) -> tuple[int, bytes]:
        children: Tasks = set()
        _children.set(children)
        outcome = await self._runner.run_async(key, body, soft_timeout_s)
        if children:
            with suppress(asyncio.CancelledError):  # by somebody who cancels all there are
                await _cancel(children)
        return outcome

    def _ended(
        self, key: int, body: memoryview, started_at: float, before: tuple[int, int] | None, run: asyncio.Task[Any]
    ) -> None:
        """Send the outcome of a run, and take up what waits for its end."""
        try:
            self._leave_if_forked()
            del self._running[key]
            self._cancelled.discard(key)
            try:
                kind, payload = run.result()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is this job's end
                kind, payload = self._runner.cut_off(body, error)
            faultpoints.hit("before_result")
            self._put(kind, key, started_at, payload)
            faultpoints.hit("after_result")
            if before is not None:
                limits.lift(before)
            self._runs_alone = False
            self._is_full = self._is_full and bool(self._running)
            self._listen()
            self._stop_if_done()
        except BaseException as error:  # noqa: BLE001 - as above
            self._break(error)

    def _put(self, kind: int, key: int, started_at: float, payload: bytes) -> None:
        if len(payload) <= frames.MAX_JOINED_PAYLOAD:
            self._results.put_frame(frames.encode_frame(kind, key, started_at, time.time(), payload))
        else:
            head = frames.FRAME_HEAD.pack(len(payload), kind, key, started_at, time.time())
            self._results.put_large_frame(head, payload)

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_order(self, board_fd: int) -> None:
        """Take an order, between any two steps of whatever this process does: the loop may be blocked."""
        key = board.read_order(board_fd)
        if not key & board.WHERE:
            self._loop.call_soon_threadsafe(self._cancel_asked, board_fd)
        elif (run := self._running.get(key ^ board.WHERE)) is not None:
            where = f"The job:\n{whereabouts.describe(run.get_coro())}"
            os.write(board_fd, where.encode(errors="replace"))

    def _runs(self) -> dict[int, list[asyncio.Task[Any]]]:
        """Return each job's asyncio tasks, by key: that of its run first, then those that it has made."""
        found: dict[int, list[asyncio.Task[Any]]] = {}
        for key, run in list(self._running.items()):
            frame = getattr(run.get_coro(), "cr_frame", None)  # of `_run`, which keeps them; kept here, they would cost
            children = frame.f_locals.get("children", ()) if frame is not None else ()
            found[key] = [run, *(task for task in children if not task.done())]
        return found

    def _cancel_asked(self, board_fd: int) -> None:
        """Cancel each run that somebody wants stopped, once: one that goes on all the same will be killed."""
        for key in board.asked_to_stop(board_fd) & self._running.keys() - self._cancelled:
            self._cancelled.add(key)
            if not self._runner.interrupt(key):
                self._running[key].cancel("somebody cancelled the job")

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _leave_if_forked(self) -> None:
        """Stop a child that a task forked and that came back: two processes would serve one channel."""
        if os.getpid() != self._own_pid:
            os._exit(0)

    def _stop_if_done(self) -> None:
        if self._ready() is not None:
            self._loop.stop()

    def _break(self, error: BaseException) -> None:
        self._broken = error
        self._loop.stop()


def own_loop() -> asyncio.AbstractEventLoop:
    """Return this worker's event loop, in which its coroutine functions run, hooks included; made when first wanted."""
    if not _own:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(_remember_whose)
        _own.append(loop)
    return _own[0]


def end_loop() -> None:
    """Let what users keep in the loop end itself. The supervisor kills whoever takes too long."""
    while _own:
        loop = _own.pop()
        with suppress(Exception):
            if left := asyncio.all_tasks(loop):
                loop.run_until_complete(_cancel(left))
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _cancel(tasks: Tasks) -> None:
    """Cancel what a run left behind, and what that makes meanwhile; give up on what does not end in time."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        _, refusing = await asyncio.wait(left, timeout=LEFTOVER_PATIENCE_S)
        if refusing:
            names = ", ".join(sorted(repr(task.get_coro()) for task in refusing))
            print(f"workd: a task has left these behind, and they cannot be cancelled: {names}", file=sys.stderr)  # noqa: T201 - user code may have any logging
            return


def _remember_whose(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    *,
    context: Context | None = None,
    **more: Any,
) -> asyncio.Task[Any]:
    """Make an asyncio task, and note by its context which run it belongs to; without one, to none."""
    children = _children.get(None) if context is None else context.get(_children)
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context, **more)
    if children is not None:
        children.add(task)
        task.add_done_callback(children.discard)
    return task
