"""The life of a worker process: from the fork to the last job.

Called by the forkserver in the freshly forked child, and never returns to it. The worker obeys its socket alone: a
packet is a job, the end of the stream is the order to leave. It claims a job by reading its packet, runs it, and
writes the outcome into its own result queue before it claims the next, so a kill at any instant costs one job at
most.

It must never: talk to Redis, renew a lease, time itself, or share a lock with another process.
"""

from __future__ import annotations

import array
import contextlib
import io
import os
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from workd import faultpoints
from workd.pool import frames, lifeline

if TYPE_CHECKING:
    from collections.abc import Callable

READY: Final = b"R"  # the first message of a worker that can take jobs; the result queue's read end comes with it
FAILED: Final = b"F"  # the first message of a worker that could not start; its traceback comes with it

IGNORED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EXIT_BOOT_FAILED: Final = 78
EXIT_CHANNEL_BROKEN: Final = 79
_REPORT_CHARS: Final = 8000
_ONE_FD = array.array("i", [0])
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_ONE_FD.itemsize)


class Runner(Protocol):
    """What turns the body of a packet into an outcome. Made once, before the fork; `run` is called for each job."""

    def start(self, slot: int) -> None:
        """Prepare in the worker, after the fork. An exception here is a boot failure."""

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one job; return the kind of frame and its payload. Must not raise for anything that a task does."""


def ignore_signals() -> None:
    """Have signals meant for the daemon pass by.

    A handler instead of SIG_IGN: programs that a task starts would inherit SIG_IGN and could not be terminated.
    """
    for number in IGNORED_SIGNALS:
        signal.signal(number, _pass_by)


def _pass_by(number: int, frame: object) -> None:
    """Do nothing."""


def become_worker(slot: int, channel: socket.socket, lifeline_fd: int, nice: int, runner: Runner) -> NoReturn:
    """Turn this freshly forked process into the worker of `slot`, and never return."""
    status = EXIT_BOOT_FAILED
    try:
        os.setsid()  # a group of its own: a hard kill takes the task's children along, a terminal's Ctrl-C passes by
        lifeline.arm(lifeline_fd)
        ignore_signals()
        _rename(slot)
        _write_whole_lines()
        if nice:
            os.nice(nice)
        put_frame = _boot(slot, channel, runner)
        if put_frame is not None:
            status = EXIT_CHANNEL_BROKEN
            status = serve(channel, put_frame, runner)
    except BaseException:  # noqa: BLE001 - the last frame of the process: nothing may escape into the forkserver
        traceback.print_exc()
    finally:
        flush_streams()
        os._exit(status)


def _boot(slot: int, channel: socket.socket, runner: Runner) -> Callable[[bytes], None] | None:
    """Tell the supervisor that this worker can take jobs, or why not; return what puts a frame on its way."""
    from workd.pool.result_queue import ResultQueue

    results = ResultQueue()
    reader_fd = results.detach_reader()
    try:
        runner.start(slot)
    except BaseException:  # noqa: BLE001 - an initializer may raise anything; it is reported as the cause
        channel.send(FAILED + traceback.format_exc()[-_REPORT_CHARS:].encode(errors="replace"))
        return None
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [reader_fd]))]
    channel.sendmsg([READY], rights)
    os.close(reader_fd)
    return results.put_frame


def serve(channel: socket.socket, put_frame: Callable[[bytes], None], runner: Runner) -> int:
    """Run jobs until the supervisor closes the channel; return the exit status."""
    own_pid = os.getpid()
    buffer = bytearray(frames.MAX_PACKET)
    view = memoryview(buffer)
    unpack_head, body_start = frames.PACKET_HEAD.unpack_from, frames.PACKET_HEAD.size
    receive, run, encode, now = channel.recvmsg_into, runner.run, frames.encode_frame, time.time
    while True:
        size, ancillary, _, _ = receive([buffer], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        if not size:
            return 0
        key, flags = unpack_head(buffer)
        faultpoints.hit("after_claim")
        body = view[body_start:size] if not flags & frames.SPILLED else _read_spilled(ancillary)
        started_at = now()
        kind, payload = run(body)
        if os.getpid() != own_pid:
            # The task forked and came back in the child: two processes would serve one channel.
            os._exit(0)
        faultpoints.hit("before_result")
        put_frame(encode(kind, key, started_at, now(), payload))
        faultpoints.hit("after_result")


def _read_spilled(ancillary: list[tuple[int, int, bytes]]) -> memoryview:
    if not ancillary:
        # The descriptor limit is reached: this worker can't take the job, and says so by its exit status.
        os._exit(EXIT_CHANNEL_BROKEN)
    fds = array.array("i")
    fds.frombytes(ancillary[0][2])
    return memoryview(frames.read_body(fds[0]))


def _rename(slot: int) -> None:
    import multiprocessing

    multiprocessing.current_process().name = f"workd-worker-{slot}"
    set_title(f"workd-worker-{slot}")


def set_title(title: str) -> None:
    """Have `ps` and `top` show this process under `title`; the kernel keeps the first 15 bytes."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123
        comm.write(title)


def _write_whole_lines() -> None:
    """Have each line that a task prints leave at once, in one write.

    A worker may be killed at any moment, and what its buffers hold then is lost. `write_through`, which
    PYTHONUNBUFFERED sets, would write the line and its end apart, so that lines of several workers mix.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a task module may have put anything there
            stream.reconfigure(line_buffering=True, write_through=False)


def flush_streams() -> None:
    """Write out what is buffered for stdout and stderr, as far as anybody takes it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, broken, or None
            stream.flush()
