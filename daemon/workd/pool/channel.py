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
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workd.pool import frames
from workd.pool.worker import FAILED, READY

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES_PER_TURN: Final = 1024 * 1024
_SEND_BUFFER_BYTES: Final = 1024 * 1024  # the kernel clips it to net.core.wmem_max
_MAX_BOOT_PACKET: Final = 64 * 1024
_NO_ROOM: Final = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker can take jobs."""


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """The worker could not start."""

    traceback: str


class Channel:
    """One slot's channel, from before the fork until the worker's death has been dealt with."""

    def __init__(self, max_result_bytes: int) -> None:
        """Make the socket; the pipe comes from the worker with its first message."""
        self.jobs, self.worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.jobs.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        self.jobs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.results_fd = -1
        self._parser = frames.FrameParser(max_result_bytes)
        # Its own, since a program may have several pools, each with a loop in a thread.
        self._read_buffer = bytearray(READ_BYTES_PER_TURN)
        self._broken = False

    def close(self) -> None:
        """Close every descriptor. The worker, if it lives, leaves after what it has claimed. Safe to call twice."""
        self.jobs.close()
        self.worker_end.close()
        if self.results_fd >= 0:
            os.close(self.results_fd)
            self.results_fd = -1

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
                _MAX_BOOT_PACKET, socket.CMSG_SPACE(array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        if data == READY and ancillary:
            fds = array.array("i")
            fds.frombytes(ancillary[0][2])
            self.results_fd = fds[0]
            os.set_blocking(self.results_fd, False)
            return WorkerReady()
        if data == READY:
            return WorkerFailed("the supervisor has no file descriptor left for its results")
        return WorkerFailed(data.removeprefix(FAILED).decode(errors="replace"))

    def send(self, key: int, body: bytes) -> bool:
        """Hand a job over; False when the socket has no room, and then nothing was sent."""
        head = frames.PACKET_HEAD
        try:
            if len(body) <= frames.MAX_INLINE_BODY:
                self.jobs.send(head.pack(key, 0) + body)
            else:
                self._send_spilled(head.pack(key, frames.SPILLED), body)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            raise
        return True

    def _send_spilled(self, head: bytes, body: bytes) -> None:
        fd = frames.spill(body)
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

    def read_results(self) -> Iterator[frames.Frame]:
        """Yield the complete frames of at most 1 MiB. Raises `FrameError`, and `EOFError` when all writers are gone."""
        if self.results_fd < 0 or self._broken:
            return
        try:
            size = os.readv(self.results_fd, [self._read_buffer])
        except BlockingIOError:
            return
        if not size:
            raise EOFError
        yield from self._parser.feed(memoryview(self._read_buffer)[:size])

    def distrust(self) -> None:
        """Read no more frames: after one that was wrong nobody knows where the next begins."""
        self._broken = True

    def read_last_results(self) -> Iterator[frames.Frame]:
        """Yield every complete frame that a dead worker left; a partial one is dropped.

        Stops at the end of the stream or when the pipe is empty: a grandchild may hold the other end open.
        """
        try:
            while True:
                before = len(self._parser.partial)
                found = False
                for frame in self.read_results():
                    found = True
                    yield frame
                if not found and len(self._parser.partial) == before:
                    return
        except EOFError:
            return
