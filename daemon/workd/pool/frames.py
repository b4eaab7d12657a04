"""What travels between the supervisor and a worker, as bytes.

Two directions, two shapes, both read without trusting the other side and without pickle:

- **Job packets** (supervisor to worker) go through a SEQPACKET socket: one packet is one job, so reading a packet
  is the worker's claim on that job, and the kernel makes it atomic. A body that is too large for a packet spills
  into a memfd that travels beside the header.
- **Frames** (worker to supervisor) go through the pipe of the worker's result queue: a fixed header, then the
  payload. A worker can be killed in the middle of a frame; the supervisor's `parsing` keeps the partial frame apart.

Loaded by both sides, so it imports next to nothing. Nothing here blocks but `read_body` on a memfd, which is memory.
"""

from __future__ import annotations

import os
import struct
from typing import Final

# The first message of a worker, through the socket in the other direction.
READY: Final = b"R"  # it can take jobs; the read end of its result queue and its board come too
FAILED: Final = b"F"  # it could not start; its complaint follows, as JSON

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
LIMITED: Final = 2  # flag: the job's limits stand between head and body
LIMITS: Final = struct.Struct("<dQ")  # soft timeout in seconds and memory limit in bytes, 0 for none
ON_LOOP: Final = 4  # flag: the task is a coroutine function, for the worker's event loop
BESIDE: Final = 8  # flag: it may run beside others; only with ON_LOOP
MAX_INLINE_BODY: Final = 128 * 1024  # a larger body spills; the socket's buffer holds some 400 KB of them
MAX_JOINED_BYTES: Final = 4 * 1024  # of what is copied behind a head; of more, the kernel is told the parts
MAX_PACKET: Final = PACKET_HEAD.size + LIMITS.size + MAX_INLINE_BODY

MAX_JOINED_PAYLOAD: Final = 64 * 1024  # a larger one is written apart from its head: a pipe takes no more at once

MAX_PAYLOAD_BYTES: Final = 2**32 - 1  # what the head of a frame can say
FRAME_HEAD: Final = struct.Struct("<IBQdd")  # payload's length, kind, key, started and ended as epoch seconds
# attempt, delivery, length of the id and of the task's name, first and last of the arguments if they are left to it,
# number of the queue, timeout in seconds (0: none), time of the first enqueue in epoch ms
JOB_HEAD: Final = struct.Struct("<IIHHIIHdQ")


def encode_frame(kind: int, key: int, started_at: float, ended_at: float, payload: bytes) -> bytes:
    """Return one frame as bytes."""
    return FRAME_HEAD.pack(len(payload), kind, key, started_at, ended_at) + payload


def encode_job(  # noqa: PLR0913, PLR0917 - the fields of the head; an object would cost more
    job_id: bytes,
    task: bytes,
    attempt: int,
    delivery: int,
    message: bytes,
    start: int = 0,
    end: int = 0,
    queue: int = 0,
    timeout_s: float = 0.0,
    enqueued_ms: int = 0,
) -> bytes:
    """Return the body of a job packet for a task message; `start` and `end` as in `excerpt.Excerpt`."""
    head = JOB_HEAD.pack(attempt, delivery, len(job_id), len(task), start, end, queue, timeout_s, enqueued_ms)
    return b"".join((head, job_id, task, message))


def decode_job(body: memoryview) -> tuple[str, str, int, int, memoryview, int, int, int, float, int]:
    """Return what a body made by `encode_job` was made from, in the same order, with id and task as text."""
    attempt, delivery, id_length, task_length, start, end, queue, timeout_s, enqueued_ms = JOB_HEAD.unpack_from(body)
    id_end = JOB_HEAD.size + id_length
    task_end = id_end + task_length
    job_id, task = str(body[JOB_HEAD.size : id_end], "utf-8"), str(body[id_end:task_end], "utf-8")
    return job_id, task, attempt, delivery, body[task_end:], start, end, queue, timeout_s, enqueued_ms


def spill(body: bytes, rest: bytes = b"") -> int:
    """Write `body` and `rest` into a new memfd and return its descriptor, which the caller closes."""
    fd = os.memfd_create("workd-job", os.MFD_CLOEXEC)
    try:
        for part in (body, rest):
            view = memoryview(part)
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
