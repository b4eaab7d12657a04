"""The memfd that a worker and the supervisor both hold: an order in one direction, stacks in the other.

    bytes 0 to 7    key of the job whose time is up: written by the supervisor, read by the worker's `alarm`
    from byte 64    Python stacks: written by `faulthandler` in the worker, read by the supervisor

`faulthandler` writes from a signal handler in C, which needs neither the GIL nor Python code: when the supervisor asks
with `STACKS_SIGNAL`, and by itself when the worker dies of an error in C code. Memory that a worker writes here
is text for people and nothing else; the supervisor reads a bounded piece of it and trusts none of it.

Made by the worker at its boot, thrown away with it. Nothing here blocks.
"""

from __future__ import annotations

import os
import signal
from typing import Final

# Real-time signals: libraries and tasks hardly ever use them for themselves.
ORDER_SIGNAL: Final = signal.SIGRTMIN + 6
STACKS_SIGNAL: Final = signal.SIGRTMIN + 7

_KEY_BYTES: Final = 8
_STACKS_AT: Final = 64
_MAX_STACK_BYTES: Final = 16 * 1024
_OWN_FOLDER: Final = f'File "{os.path.dirname(__file__)}/'  # noqa: PTH120 - pathlib is heavy for a worker


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


def clear_stacks(fd: int) -> None:
    """Forget what was written; the next stacks start at the beginning, as both sides share the file offset."""
    os.ftruncate(fd, _STACKS_AT)
    os.lseek(fd, _STACKS_AT, os.SEEK_SET)


def stacks_size(fd: int) -> int:
    """Return how many bytes of stacks there are by now."""
    return os.fstat(fd).st_size - _STACKS_AT


def read_stacks(fd: int) -> str:
    """Return the stacks for people: our own frames cut off, empty if there are none."""
    return _clean(os.pread(fd, _MAX_STACK_BYTES, _STACKS_AT).decode(errors="replace"))


def _clean(text: str) -> str:
    lines = [line for line in text.replace("\0", "").splitlines() if line.strip() and _OWN_FOLDER not in line]
    while lines and lines[-1].startswith('  File "<string>"'):  # how a forkserver is started
        lines.pop()
    return "\n".join(lines)
