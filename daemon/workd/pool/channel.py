"""The supervisor's side of one slot's private channel: a socket for jobs, a pipe for results.

A job is one packet of the SEQPACKET socket. The worker claims it by reading it, and because the supervisor keeps a
descriptor of the worker's end, it takes back what is unclaimed by reading too: whichever side reads a packet owns
the job, and the kernel decides. There is no word in shared memory and no lock that a killed worker could hold, and
it works on a worker that is stopped or dead.

Thrown away with the worker. Nothing here blocks.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workd import faultpoints
from workd.errors import PoolError
from workd.pool import frames
from workd.pool.parsing import FrameParser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd.pool.parsing import Frame
    from workd.pool.slot import Job

READ_BYTES_PER_TURN: Final = 1024 * 1024
_FIRST_BUFFER_BYTES: Final = 128 * 1024  # more than a pipe holds, unless its worker has enlarged it for large results
_SEND_BUFFER_BYTES: Final = 1024 * 1024  # the kernel clips it to net.core.wmem_max
_MAX_BOOT_PACKET: Final = 64 * 1024
_NO_ROOM: Final = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker can take jobs. Its results' pipe and its board came with the message."""


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """The worker could not start: `cause` in one line, `module` if it was an import."""

    cause: str
    traceback: str = ""
    module: str = ""


class SpillError(PoolError):
    """There is no descriptor, or no memory, for a job's large body: waiting in the socket's queue would not help."""


class Channel:
    """One slot's channel, from before the fork until the worker's death has been dealt with."""

    def __init__(self, max_result_bytes: int) -> None:
        """Make the socket; the pipe comes from the worker with its first message."""
        self.jobs, self.worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._send = self.jobs.send
        self.jobs.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        self.jobs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.results_fd = -1
        self.board_fd = -1
        self._parser = FrameParser(max_result_bytes)
        # Its own, since a program may have several pools, each with a loop in a thread.
        self._read_buffer = bytearray(_FIRST_BUFFER_BYTES)
        self._broken = False

    def close(self) -> None:
        """Close every descriptor. The worker, if it lives, leaves after what it has claimed. Safe to call twice."""
        self.jobs.close()
        self.worker_end.close()
        for fd in (self.results_fd, self.board_fd):
            if fd >= 0:
                os.close(fd)
        self.results_fd = self.board_fd = -1

    def hang_up(self) -> None:
        """Tell the worker to leave once it has done what it claimed; its results are still read."""
        with suppress(OSError):  # closed before
            # Closing alone is not enough where the host program has forked: its child holds a copy.
            self.jobs.shutdown(socket.SHUT_WR)
        self.jobs.close()

    def read_boot(self) -> WorkerReady | WorkerFailed | None:
        """Return the worker's first message; None if it is not there yet."""
        try:
            data, ancillary, _, _ = self.jobs.recvmsg(
                _MAX_BOOT_PACKET, socket.CMSG_SPACE(2 * array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        if not data:
            return WorkerFailed("")  # it died; what the kernel says of that follows
        if data.startswith(frames.FAILED):
            return _complaint(data.removeprefix(frames.FAILED))
        fds = array.array("i")
        for _, _, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if len(fds) < 2:  # noqa: PLR2004 - the results' pipe and the board
            for fd in fds:
                os.close(fd)
            return WorkerFailed("the supervisor has no file descriptor left for its results; raise ulimit -n")
        self.results_fd, self.board_fd = fds
        os.set_blocking(self.results_fd, False)
        return WorkerReady()

    def send(self, job: Job) -> bool:
        """Hand a job over; False when the socket has no room, and then nothing was sent. Raises `SpillError`."""
        body, rest = job.body, job.rest
        try:
            if len(body) <= frames.MAX_JOINED_BYTES and not rest:
                self._send(_head(job, 0) + body)
            elif len(body) + len(rest) <= frames.MAX_INLINE_BODY:
                self._send_parts(job)
            else:
                self._send_spilled(job)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            raise
        return True

    def _send_parts(self, job: Job) -> None:
        try:
            self.jobs.sendmsg((_head(job, 0), job.body, job.rest))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._send_spilled(job)  # a system with a smaller net.core.wmem_max than the kernel's own

    def _send_spilled(self, job: Job) -> None:
        head, body, rest = _head(job, frames.SPILLED), job.body, job.rest
        try:
            fd = frames.spill(body, rest)
        except OSError as error:
            raise SpillError(f"its {len(body) + len(rest):,} bytes can't be handed over: {error.strerror}") from error
        try:
            self.jobs.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        finally:
            os.close(fd)

    def take_back(self) -> list[int]:
        """Read every packet that the worker has not claimed; return the jobs' keys. They are not its any more."""
        keys: list[int] = []
        head = frames.PACKET_HEAD
        while True:
            try:
                # The rest of the packet, and a descriptor beside it, are dropped by the kernel.
                packet = self.worker_end.recv(head.size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return keys
            if not packet:
                return keys
            keys.append(head.unpack(packet)[0])

    def read_results(self) -> Iterator[Frame]:
        """Yield the complete frames of at most 1 MiB. Raises `FrameError`, and `EOFError` when all writers are gone."""
        if self.results_fd < 0 or self._broken:
            return
        parser, room = self._parser, self._parser.room
        try:
            size = os.readv(self.results_fd, [self._read_buffer if room is None else room[:READ_BYTES_PER_TURN]])
        except BlockingIOError:
            return
        if not size:
            raise EOFError
        if room is None:
            data = memoryview(self._read_buffer)[:size]
            if size == _FIRST_BUFFER_BYTES:
                self._read_buffer = bytearray(READ_BYTES_PER_TURN)  # results of 100 KB come twice as fast through this
            yield from parser.feed(data)
        elif (frame := parser.fill(size)) is not None:
            yield frame
        if parser.pending_bytes:
            faultpoints.hit("supervisor_mid_result")

    def distrust(self) -> None:
        """Read no more frames: nobody knows where the next begins, or whether it is true."""
        self._broken = True

    def read_last_results(self) -> Iterator[Frame]:
        """Yield every complete frame that a dead worker left; a partial one is dropped.

        Stops at the end of the stream or when the pipe is empty: a grandchild may hold the other end open.
        """
        try:
            while True:
                before = self._parser.pending_bytes
                found = False
                for frame in self.read_results():
                    found = True
                    yield frame
                if not found and self._parser.pending_bytes == before:
                    return
        except EOFError:
            return


def _complaint(text: bytes) -> WorkerFailed:
    try:
        return WorkerFailed(**json.loads(text))
    except (ValueError, TypeError):  # cut off, or user code has written to the descriptor
        return WorkerFailed("it sent a complaint that can't be read")


def _head(job: Job, flags: int) -> bytes:
    if job.concurrency:
        flags |= frames.ON_LOOP if job.concurrency == 1 else frames.ON_LOOP | frames.BESIDE
    if job.soft_timeout_s is None and job.memory_limit_bytes is None:
        return frames.PACKET_HEAD.pack(job.key, flags)
    limits = frames.LIMITS.pack(job.soft_timeout_s or 0.0, job.memory_limit_bytes or 0)
    return frames.PACKET_HEAD.pack(job.key, flags | frames.LIMITED) + limits
