"""The memfd that a worker and the supervisor both hold: orders in one direction, news and stacks in the other.

    bytes 0 to 7      key of the job whose time is up: written by the supervisor, read by the worker's `alarm`
    bytes 8 to 15     how many jobs were ever asked to stop: written by the supervisor, read by the worker's `notices`
    bytes 16 to 23    not 0: all jobs are asked to stop, since the daemon drains
    bytes 24 to 31    how many reports of progress were ever written: by the worker, read by the supervisor
    bytes 32 to 39    number of the question where everybody is: by the supervisor, answered by `child/stacks`
    bytes 40 to 8231  a ring of the keys of the jobs that were last asked to stop
    then              places for the last report of each of several jobs, found by the job's key
    last              Python stacks: written by `faulthandler` in the worker, read by the supervisor

A report that the other side is just writing reads as none: it carries a check sum, and there will be another look. Of
more jobs at once than there are places, some have no report to show. The ring has room for all that one worker can run
at once, so that a whole group of coroutines may be asked before the worker looks.

`faulthandler` writes from a signal handler in C, which needs neither the GIL nor Python code: when the supervisor asks
with `STACKS_SIGNAL`, and by itself when the worker dies of an error in C code. Memory that a worker writes here
is text for people and nothing else; the supervisor reads a bounded piece of it and trusts none of it. Among the stacks
there may be an answer to a question (`xray.py` says who asks when): a head and JSON, written with one write.

Made by the worker at its boot, thrown away with it. Nothing here blocks.
"""

from __future__ import annotations

import binascii
import os
import signal
import struct
from typing import Final

# Real-time signals: libraries and tasks hardly ever use them for themselves.
ORDER_SIGNAL: Final = signal.SIGRTMIN + 6
STACKS_SIGNAL: Final = signal.SIGRTMIN + 7
QUESTION_SIGNAL: Final = signal.SIGRTMIN + 8  # read the question on the board
OWN_STACK_SIGNAL: Final = signal.SIGRTMIN + 9  # as STACKS_SIGNAL, of one thread alone

WHERE: Final = 1 << 63  # in the place of a key whose time is up: its job is only to say where it is
_KEY_BYTES: Final = 8
_WISHES_AT: Final = 8
_WISHES: Final = struct.Struct("<QQ")  # how many, and whether all are meant
_COUNTS: Final = 1 << 64  # a count begins anew after so many; a worker may have written any
_NO_WISH: Final = bytes(_WISHES.size)
_QUESTION_AT: Final = 32
_RING_AT: Final = 40
_RING_KEYS: Final = 1024
_REPORTS_AT: Final = 24
_PLACES_AT: Final = _RING_AT + _RING_KEYS * _KEY_BYTES
_PLACES: Final = 32
_PLACE_BYTES: Final = 512
_REPORT_HEAD: Final = struct.Struct("<QHI")  # the job's key, bytes of what follows, check sum of key and that
MAX_REPORT_BYTES: Final = _PLACE_BYTES - _REPORT_HEAD.size
_STACKS_AT: Final = _PLACES_AT + _PLACES * _PLACE_BYTES
_MAX_STACK_BYTES: Final = 16 * 1024
_ANSWER_HEAD: Final = struct.Struct("<8sQII")  # a mark, number of the question, bytes that follow, their check sum
_ANSWER_MARK: Final = b"\0where:\n"
MAX_ANSWER_BYTES: Final = 256 * 1024
_OWN_FOLDER: Final = f"{os.path.dirname(__file__)}/"  # noqa: PTH120 - pathlib is heavy for a worker


def create() -> int:
    """Make a board; return its descriptor, whose file offset stands where stacks are written."""
    fd = os.memfd_create("workd-board", os.MFD_CLOEXEC)
    clear_stacks(fd)
    return fd


def write_order(fd: int, key: int) -> None:
    """Say whose time is up."""
    os.pwrite(fd, key.to_bytes(_KEY_BYTES, "little"), 0)


def read_order(fd: int) -> int:
    """Return the key of the job whose time is up; 0 if there never was one."""
    return int.from_bytes(os.pread(fd, _KEY_BYTES, 0), "little")


def wish_stop(fd: int, key: int) -> None:
    """Ask one job to stop. The count goes last: whoever sees it finds the key."""
    count, is_all = _read_wishes(fd)
    os.pwrite(fd, key.to_bytes(_KEY_BYTES, "little"), _RING_AT + count % _RING_KEYS * _KEY_BYTES)
    os.pwrite(fd, _WISHES.pack((count + 1) % _COUNTS, is_all), _WISHES_AT)


def asked_to_stop(fd: int) -> frozenset[int]:
    """Return the keys of the jobs that were last asked to stop one by one."""
    count, _ = _WISHES.unpack(os.pread(fd, _WISHES.size, _WISHES_AT))
    return frozenset(_read_ring(fd, count))


def _read_ring(fd: int, count: int) -> tuple[int, ...]:
    """Return what the ring holds after so many wishes."""
    keys = min(count, _RING_KEYS)
    return struct.unpack(f"<{keys}Q", os.pread(fd, keys * _KEY_BYTES, _RING_AT))


def wish_stop_of_all(fd: int) -> None:
    """Ask every job to stop, now and from now on."""
    count, _ = _read_wishes(fd)
    os.pwrite(fd, _WISHES.pack(count, 1), _WISHES_AT)


def _read_wishes(fd: int) -> tuple[int, int]:
    """Return how many wishes there were, and whether all are meant; none on a board that a worker has cut off."""
    wishes = os.pread(fd, _WISHES.size, _WISHES_AT)
    count, is_all = _WISHES.unpack(wishes) if len(wishes) == _WISHES.size else (0, 0)
    return count, is_all


def is_asked_to_stop(fd: int, key: int) -> bool:
    """Say whether this job is to stop: one short read, as long as nobody has ever asked for anything."""
    wishes = os.pread(fd, _WISHES.size, _WISHES_AT)
    if wishes == _NO_WISH:
        return False
    count, is_all = _WISHES.unpack(wishes)
    return bool(is_all) or key in _read_ring(fd, count)


def write_report(fd: int, key: int, number: int, text: bytes) -> None:
    """Say how far a job is; `number` is how many reports the worker has written with this one."""
    place = _PLACES_AT + key % _PLACES * _PLACE_BYTES
    os.pwrite(fd, _REPORT_HEAD.pack(key, len(text), _check_sum(key, text)) + text, place)
    os.pwrite(fd, number.to_bytes(_KEY_BYTES, "little"), _REPORTS_AT)


def reports_count(fd: int) -> int:
    """Return how many reports were written by now."""
    return int.from_bytes(os.pread(fd, _KEY_BYTES, _REPORTS_AT), "little")


def read_report(fd: int, key: int) -> bytes:
    """Return what a job said last of how far it is; empty if it said nothing, or is just saying it."""
    record = os.pread(fd, _PLACE_BYTES, _PLACES_AT + key % _PLACES * _PLACE_BYTES)
    if len(record) < _REPORT_HEAD.size:
        return b""  # a worker has cut the board off
    whose, length, check_sum = _REPORT_HEAD.unpack_from(record)
    text = record[_REPORT_HEAD.size : _REPORT_HEAD.size + length]
    return text if whose == key and check_sum == _check_sum(key, text) else b""


def _check_sum(key: int, text: bytes) -> int:
    return binascii.crc32(text, key & 0xFFFFFFFF)


def write_question(fd: int, number: int) -> None:
    """Ask where everybody is; 0: nobody asks any more."""
    os.pwrite(fd, number.to_bytes(_KEY_BYTES, "little"), _QUESTION_AT)


def read_question(fd: int) -> int:
    """Return the number of the question that is to be answered; 0 if there is none."""
    return int.from_bytes(os.pread(fd, _KEY_BYTES, _QUESTION_AT), "little")


def write_answer(fd: int, number: int, text: bytes) -> None:
    """Answer a question; what is too long is not written at all."""
    if len(text) <= MAX_ANSWER_BYTES:
        os.write(fd, _ANSWER_HEAD.pack(_ANSWER_MARK, number, len(text), _check_sum(number, text)) + text)


def read_answer(fd: int, number: int) -> bytes:
    """Return the answer to this question; empty as long as it is not there as a whole."""
    written = os.pread(fd, MAX_ANSWER_BYTES + _ANSWER_HEAD.size + _MAX_STACK_BYTES, _STACKS_AT)
    start = written.find(_ANSWER_MARK)
    if start < 0 or len(written) - start < _ANSWER_HEAD.size:
        return b""
    _, whose, length, check_sum = _ANSWER_HEAD.unpack_from(written, start)
    text = written[start + _ANSWER_HEAD.size :][:length]
    return text if whose == number and check_sum == _check_sum(number, text) else b""


def clear_stacks(fd: int) -> None:
    """Forget what was written; the next stacks start at the beginning, as both sides share the file offset."""
    os.ftruncate(fd, _STACKS_AT)
    os.lseek(fd, _STACKS_AT, os.SEEK_SET)


def stacks_size(fd: int) -> int:
    """Return how many bytes of stacks there are by now."""
    return os.fstat(fd).st_size - _STACKS_AT


def read_stacks(fd: int) -> str:
    """Return the stacks for people: our own frames cut off, empty if there are none."""
    return _clean(read_all_stacks(fd))


def read_all_stacks(fd: int) -> str:
    """Return what `faulthandler` wrote, as it is."""
    return os.pread(fd, _MAX_STACK_BYTES, _STACKS_AT).decode(errors="replace")


def is_ours(file: str) -> bool:
    """Say whether a frame's file is of this package: no user can change anything there."""
    return file.startswith(_OWN_FOLDER) or file == "<string>"  # the latter is how a forkserver is started


def _clean(text: str) -> str:
    lines = [
        line for line in text.replace("\0", "").splitlines() if line.strip() and f'File "{_OWN_FOLDER}' not in line
    ]
    while lines and lines[-1].startswith('  File "<string>"'):  # how a forkserver is started
        lines.pop()
    return "\n".join(lines)
