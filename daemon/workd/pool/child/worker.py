"""The life of a worker process: from the fork to the last job.

Called by the forkserver in the freshly forked child, or by an interpreter that was started for it, and never returns.
The worker obeys its socket alone: a packet is a job, the end of the stream is the order to leave. It claims a job by
reading its packet, runs it, and writes the outcome into its own result queue before it claims the next, so a kill at
any instant costs one job at most.

It must never: talk to Redis, renew a lease, time itself, or share a lock with another process.
"""

from __future__ import annotations

import array
import contextlib
import contextvars
import json
import multiprocessing.process
import multiprocessing.util
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast

from workd import faultpoints
from workd.pool import board, frames, lifeline
from workd.pool.child import alarm, limits, notices, stacks
from workd.pool.child.complaints import complain
from workd.pool.child.deafness import ignore_signals
from workd.pool.child.result_queue import ResultQueue
from workd.pool.child.title import set_title
from workd.pool.exits import EXIT_BOOT_FAILED, EXIT_CHANNEL_BROKEN
from workd.pool.streams import flush_streams, print_exception, write_whole_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.child.looping import AsyncRunner

_LARGE_BLOCK_BYTES: Final = 4 * 1024 * 1024
_ONE_FD = array.array("i", [0])
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_ONE_FD.itemsize)
_OOM_SCORE_ADJ: Final = "/proc/self/oom_score_adj"
_SOONER: Final = 300  # than the daemon, in thousandths of the memory there is
_SOONEST: Final = 1000


class Runner(Protocol):
    """What turns the body of a packet into an outcome. Made once, before the fork; `run` is called for each job.

    One that is given coroutine functions has `run_async` and `cut_off`, too (see `looping.AsyncRunner`).
    """

    def start(self, slot: int) -> None:
        """Prepare in the worker, after the fork. An exception here is a boot failure."""

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one job; return the kind of frame and its payload. Must not raise for anything that a task does."""

    def stop(self) -> None:
        """Clean up, as the worker leaves by order. The supervisor kills a worker that takes too long for it."""


def become_worker(
    slot: int, channel: socket.socket, lifeline_fd: int, nice: int, make_runner: Callable[[], Runner]
) -> NoReturn:
    """Turn this freshly made process into the worker of `slot`, and never return."""
    status = EXIT_BOOT_FAILED
    try:
        faultpoints.hit("worker_born")
        os.setsid()  # a group of its own: a hard kill takes the task's children along, a terminal's Ctrl-C passes by
        lifeline.arm(lifeline_fd)
        faultpoints.hit("worker_armed")
        ignore_signals()
        _rename(slot)
        write_whole_lines()
        if nice:
            os.nice(nice)
            _be_killed_first()
        _let_others_go_first()
        booted = _boot(slot, channel, make_runner)
        if booted is not None:
            status = EXIT_CHANNEL_BROKEN
            status = _serve_in_sight(channel, *booted)
            booted[1].stop()
            _end_loop()
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library's workers
    except BaseException:  # noqa: BLE001 - the last frame of the process: nothing may escape into the forkserver
        print_exception()
    finally:
        flush_streams()
        os._exit(status)


def _boot(slot: int, channel: socket.socket, make_runner: Callable[[], Runner]) -> tuple[ResultQueue, Runner] | None:
    """Tell the supervisor that this worker can take jobs, or why not; return where results go and what runs jobs."""
    results = ResultQueue()
    reader_fd, board_fd = results.detach_reader(), board.create()
    try:
        runner = make_runner()
        runner.start(slot)
    except BaseException as error:  # noqa: BLE001 - an initializer may raise anything; it is reported as the cause
        channel.send(frames.FAILED + json.dumps(complain(error), ensure_ascii=False).encode(errors="replace"))
        return None
    alarm.install(board_fd)
    notices.install(board_fd)
    stacks.install(board_fd)
    faultpoints.hit("worker_before_ready")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [reader_fd, board_fd]))]
    channel.sendmsg([frames.READY], rights)
    faultpoints.hit("worker_after_ready")
    os.close(reader_fd)
    return results, runner


def _serve_in_sight(channel: socket.socket, results: ResultQueue, runner: Runner) -> int:
    """Serve in a context that printing can look into: the threads that a job starts do not inherit it."""
    printing = sys.modules.get("workd.output.printing")  # loaded where tasks are run, not for `workd.Pool`
    if printing is None:
        return serve(channel, results, runner)
    context = contextvars.copy_context()
    printing.look_into(context)
    return context.run(serve, channel, results, runner)


def _end_loop() -> None:
    """End the event loop, if this worker has one: after the runner, whose hooks may close what is in it."""
    looping = sys.modules.get("workd.pool.child.looping")
    if looping is not None:
        looping.end_loop()


def serve(channel: socket.socket, results: ResultQueue, runner: Runner) -> int:
    """Run jobs until the supervisor closes the channel; return the exit status."""
    own_pid = os.getpid()
    bytes(_LARGE_BLOCK_BYTES)  # given back at once: from then on the C library keeps so much for the next large result
    buffer = bytearray(frames.MAX_PACKET)
    view = memoryview(buffer)
    unpack_head, body_start = frames.PACKET_HEAD.unpack_from, frames.PACKET_HEAD.size
    put_frame = results.put_frame
    receive, run, encode, now = channel.recvmsg_into, runner.run, frames.encode_frame, time.time
    while True:
        faultpoints.hit("before_claim")
        size, ancillary, _, _ = receive([buffer], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        if not size:
            faultpoints.hit("worker_leaving")
            return 0
        key, flags = unpack_head(buffer)
        notices.key = key
        faultpoints.hit("after_claim")
        if not flags:
            started_at = now()
            kind, payload = run(view[body_start:size])
        elif flags & frames.ON_LOOP:
            from workd.pool.child.looping import LoopWork  # no loop where no task is a coroutine function

            # The first of them. From now on this worker waits for its packets in the loop, which starts what is for it.
            receive = LoopWork(
                channel, results, cast("AsyncRunner", runner), buffer, (size, ancillary, 0, None)
            ).next_plain
            continue
        else:
            limits_end = body_start + (frames.LIMITS.size if flags & frames.LIMITED else 0)
            body = view[limits_end:size] if not flags & frames.SPILLED else read_spilled(ancillary)
            started_at = now()
            kind, payload = run(body) if not flags & frames.LIMITED else _run_limited(run, key, view, body)
        if os.getpid() != own_pid:
            # The task forked and came back in the child: two processes would serve one channel.
            os._exit(0)
        faultpoints.hit("before_result")
        if len(payload) <= frames.MAX_JOINED_PAYLOAD:
            put_frame(encode(kind, key, started_at, now(), payload))
        else:
            results.put_large_frame(frames.FRAME_HEAD.pack(len(payload), kind, key, started_at, now()), payload)
        payload = b""  # a large one must not stay until the next job has ended
        faultpoints.hit("after_result")


def _run_limited(
    run: Callable[[memoryview], tuple[int, bytes]], key: int, packet: memoryview, body: memoryview
) -> tuple[int, bytes]:
    """Run a job that has a soft timeout or a memory limit."""
    soft_timeout_s, memory_bytes = frames.LIMITS.unpack_from(packet, frames.PACKET_HEAD.size)
    alarm.begin(key if soft_timeout_s else 0)
    before = limits.impose(memory_bytes) if memory_bytes else None
    try:
        return run(body)
    finally:
        alarm.begin(0)
        if before is not None:
            limits.lift(before)


def read_spilled(ancillary: list[tuple[int, int, bytes]]) -> memoryview:
    """Return the body that came beside its packet."""
    if not ancillary:
        # The descriptor limit is reached: this worker can't take the job, and says so by its exit status.
        os._exit(EXIT_CHANNEL_BROKEN)
    fds = array.array("i")
    fds.frombytes(ancillary[0][2])
    return memoryview(frames.read_body(fds[0]))


def _let_others_go_first() -> None:
    """Have a wake-up of this worker not interrupt whoever runs: the supervisor would be, by each job that it sends.

    SCHED_BATCH has the same share of the CPU as any other process. See sched(7).
    """
    with contextlib.suppress(OSError):  # where a container forbids it, it is not needed
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _be_killed_first() -> None:
    """Have the OOM killer choose a worker, which costs one job, before the daemon, which costs what all of them run.

    It takes the largest process, and that is the daemon where many small workers fill the memory. See proc(5).
    """
    with contextlib.suppress(OSError, ValueError), open(_OOM_SCORE_ADJ, "r+") as file:  # noqa: PTH123 - no pathlib here
        sooner = min(int(file.read()) + _SOONER, _SOONEST)
        file.seek(0)
        file.write(str(sooner))


def _rename(slot: int) -> None:
    process = multiprocessing.process.current_process()
    process.name = f"workd-worker-{slot}"
    # The names of semaphores that are made here, by us or by tasks: one that a killed task left tells whose it is.
    process._config["semprefix"] = "/workd"  # type: ignore[attr-defined]  # noqa: SLF001
    set_title(f"workd-worker-{slot}")
