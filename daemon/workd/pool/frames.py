"""What travels between the supervisor and a worker, as bytes.

Two directions, two shapes, both parsed without trusting the other side and without pickle:

- **Job packets** (supervisor to worker) go through a SEQPACKET socket: one packet is one job, so reading a packet
  is the worker's claim on that job, and the kernel makes it atomic. A body that is too large for a packet spills
  into a memfd that travels beside the header.
- **Frames** (worker to supervisor) go through the pipe of the worker's result queue: a fixed header, then the
  payload. A worker can be killed in the middle of a frame; `FrameParser` keeps the partial frame apart.

Owned by the pool. Nothing here blocks but `read_body` on a memfd, which is memory.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workd.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Kinds of frames: how a run ended by itself.
RETURNED: Final = 1  # payload: the value
RAISED: Final = 2  # payload: the exception and whether a retry makes sense
INVALID: Final = 3  # payload: why the arguments do not fit the signature
UNKNOWN_TASK: Final = 4  # payload: which name is not registered here
REJECTED: Final = 5  # payload: the task's own reason
TOO_LARGE: Final = 6  # payload: how large the result was, and the limit
KINDS: Final = frozenset({RETURNED, RAISED, INVALID, UNKNOWN_TASK, REJECTED, TOO_LARGE})

PACKET_HEAD: Final = struct.Struct("<QB")  # key of the job, flags
SPILLED: Final = 1  # flag: the body is in the memfd that came with the packet
MAX_INLINE_BODY: Final = 64 * 1024  # a larger body spills; the socket's buffer holds a few hundred kilobytes
MAX_PACKET: Final = PACKET_HEAD.size + MAX_INLINE_BODY

FRAME_HEAD: Final = struct.Struct("<IBQdd")  # payload's length, kind, key, started and ended as epoch seconds
JOB_HEAD: Final = struct.Struct("<IIHH")  # attempt, delivery, length of the id, length of the task's name


class FrameError(PoolError):
    """A worker sent bytes that cannot be a frame; its slot is killed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One complete frame: which run ended, how, and when."""

    kind: int
    key: int
    started_at: float
    ended_at: float
    payload: bytes


def encode_frame(kind: int, key: int, started_at: float, ended_at: float, payload: bytes) -> bytes:
    """Return one frame as bytes."""
    return FRAME_HEAD.pack(len(payload), kind, key, started_at, ended_at) + payload


class FrameParser:
    """Cut a byte stream into frames; what is incomplete stays in `partial`."""

    __slots__ = ("_max_payload_bytes", "partial")

    def __init__(self, max_payload_bytes: int) -> None:
        """Refuse payloads over `max_payload_bytes`: a broken worker must not fill the supervisor's memory."""
        self._max_payload_bytes = max_payload_bytes
        self.partial = bytearray()

    def feed(self, data: memoryview) -> Iterator[Frame]:
        """Yield every frame that `data` completes.

        Raises `FrameError` when a header announces more than the limit, or a kind that there is not.
        """
        if self.partial:
            self.partial += data
            if not self._has_whole_frame():
                return
            data = memoryview(bytes(self.partial))
            self.partial = bytearray()
        position, end, head = 0, len(data), FRAME_HEAD
        while end - position >= head.size:
            length, kind, key, started_at, ended_at = head.unpack_from(data, position)
            self._check(length)
            stop = position + head.size + length
            if stop > end:
                break
            if kind not in KINDS:
                msg = f"a worker sent a frame of kind {kind}, which there is not"
                raise FrameError(msg)
            yield Frame(kind, key, started_at, ended_at, bytes(data[position + head.size : stop]))
            position = stop
        if position < end:
            self.partial += data[position:]
            if len(self.partial) >= head.size:
                self._check(head.unpack_from(self.partial)[0])

    def _has_whole_frame(self) -> bool:
        if len(self.partial) < FRAME_HEAD.size:
            return False
        length: int = FRAME_HEAD.unpack_from(self.partial)[0]
        self._check(length)
        return len(self.partial) >= FRAME_HEAD.size + length

    def _check(self, length: int) -> None:
        if length > self._max_payload_bytes:
            msg = f"a worker announced a result of {length} bytes, the limit is {self._max_payload_bytes}"
            raise FrameError(msg)


def encode_job(job_id: bytes, task: bytes, attempt: int, delivery: int, message: bytes) -> bytes:
    """Return the body of a job packet for a task message."""
    return b"".join((JOB_HEAD.pack(attempt, delivery, len(job_id), len(task)), job_id, task, message))


def decode_job(body: memoryview) -> tuple[str, str, int, int, memoryview]:
    """Return id, task, attempt, delivery and message of a body made by `encode_job`."""
    attempt, delivery, id_length, task_length = JOB_HEAD.unpack_from(body)
    id_end = JOB_HEAD.size + id_length
    task_end = id_end + task_length
    job_id = str(body[JOB_HEAD.size : id_end], "utf-8")
    return job_id, str(body[id_end:task_end], "utf-8"), attempt, delivery, body[task_end:]


def spill(body: bytes) -> int:
    """Write `body` into a new memfd and return its descriptor, which the caller closes."""
    fd = os.memfd_create("workd-job", os.MFD_CLOEXEC)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_body(fd: int) -> bytes:
    """Return everything in a memfd made by `spill`, and close it."""
    try:
        size = os.fstat(fd).st_size
        parts = []
        position = 0
        while position < size:
            part = os.pread(fd, size - position, position)
            if not part:
                break
            parts.append(part)
            position += len(part)
        return b"".join(parts)
    finally:
        os.close(fd)
