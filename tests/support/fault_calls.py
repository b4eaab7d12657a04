"""What people's functions get up to: called by the fault tests in the workers of a `workd.Pool`."""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from enum import Enum, auto
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from support.waiting import eventually
from workd_tasks.errors import SoftTimeout

FOREVER_S = 600.0


# ── where and when ──


def double(x: int) -> int:
    return 2 * x


def pid_after(seconds: float) -> int:
    """Return which worker ran this, after some time."""
    time.sleep(seconds)
    return os.getpid()


class Run(NamedTuple):
    """Which worker ran a call, and when, by the clock that all processes share."""

    pid: int
    began: float
    ended: float


def timed_sleep(seconds: float) -> Run:
    began = time.monotonic()
    time.sleep(seconds)
    return Run(os.getpid(), began, time.monotonic())


def tell(folder: str) -> None:
    """Say by a file that a call has begun, and in which process."""
    Path(folder, str(os.getpid())).touch()


def meet(folder: str, size: int) -> int:
    """Return once so many processes are in this function at the same time."""
    tell(folder)
    eventually(lambda: len([path for path in Path(folder).iterdir() if path.name.isdigit()]) >= size, timeout_s=40)
    return os.getpid()


# ── starts ──


def start_unless(path: str) -> None:
    """Be an initializer that fails as long as there is such a file."""
    if Path(path).exists():
        raise LookupError("the database is away")


def kill_the_forkserver() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


# ── ends ──


def exit_now(code: int) -> NoReturn:
    os._exit(code)


def exit_by_sys(code: int | str) -> NoReturn:
    sys.exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(FOREVER_S)


def close_everything() -> None:
    os.closerange(0, 4096)


def fork_and_return() -> int:
    return os.fork()


# ── business ──


def sleep_after_telling(folder: str, seconds: float = FOREVER_S) -> None:
    tell(folder)
    time.sleep(seconds)


def spin_in_c(folder: str) -> None:
    """Use a core in C code that neither lets go of the interpreter nor hears a signal."""
    tell(folder)
    sum(range(10**15))


def sleep_in_c(folder: str) -> None:
    """Sleep in C code that does not let go of the interpreter."""
    tell(folder)
    ctypes.PyDLL("libc.so.6").sleep(int(FOREVER_S))


def stop_self(folder: str) -> str:
    """Be stopped, as by a debugger."""
    tell(folder)
    os.kill(os.getpid(), signal.SIGSTOP)
    return "continued"


class MeetsTimeout(Enum):
    """What `spin` does with a soft timeout."""

    PASSES = auto()
    RETURNS = auto()


def spin(seconds: float, how: MeetsTimeout) -> str:
    """Use a core in Python code."""
    end = time.perf_counter() + seconds
    try:
        while time.perf_counter() < end:
            pass
    except SoftTimeout:
        if how is MeetsTimeout.PASSES:
            raise
        return "timeout"
    return "done"


def clean_up_in_time() -> str:
    try:
        time.sleep(FOREVER_S)
    except SoftTimeout:
        time.sleep(0.05)  # longer than the timer needs to be looked at again
        return "cleaned up"
    return "not interrupted"


def swallow_everything() -> NoReturn:
    while True:
        with suppress(BaseException):
            time.sleep(FOREVER_S)


BUSY = (sleep_after_telling, spin_in_c, sleep_in_c, stop_self)


# ── sizes ──


def large(size: int) -> bytes:
    return bytes(size)


def large_after_telling(folder: str, size: int) -> bytes:
    tell(folder)
    return bytes(size)


def length(*values: bytes) -> int:
    return sum(map(len, values))


def allocate(size: int) -> int:
    """Ask for so much memory in one piece."""
    return len(bytearray(size))


def allocate_or_say(size: int) -> int | str:
    try:
        return allocate(size)
    except MemoryError:
        return "no memory"


def grow(size: int, step: int = 1_000_000) -> int:
    """Take more and more memory, and use it."""
    kept = []
    for _ in range(size // step):
        kept.append(b"x" * step)
        time.sleep(0.002)
    return len(kept) * step


def grow_shared(size: int, step: int = 1_000_000) -> int:
    """Take more and more memory that no resource limit counts."""
    kept = []
    for _ in range(size // step):
        kept.append(mmap.mmap(-1, step))
        kept[-1].write(b"x" * step)
        time.sleep(0.002)
    return len(kept) * step


_kept: list[bytes] = []


def keep(size: int, seconds: float) -> int:
    """Leak so much memory and take so long; return the worker's pid."""
    _kept.append(b"x" * size)
    time.sleep(seconds)
    return os.getpid()


def use_and_exit(size: int, seconds: float, code: int) -> NoReturn:
    """Use so much memory for so long, and leave without a word."""
    block = b"x" * size
    time.sleep(seconds)
    os._exit(code + 0 * len(block))


# ── what does not travel ──


def make(kind: type[Any], *arguments: Any) -> Any:
    """Return an object that this very worker made."""
    return kind(*arguments)


def throw(kind: type[BaseException], *arguments: Any) -> NoReturn:
    raise kind(*arguments)


# ── what is left behind ──


def leave_thread() -> None:
    """Leave a thread behind that would keep an interpreter from ending."""
    threading.Thread(target=time.sleep, args=(FOREVER_S,), daemon=False).start()


def leave_child() -> int:
    """Leave a child behind that holds every descriptor of this worker open."""
    return subprocess.Popen(["sleep", str(FOREVER_S)], close_fds=False).pid


def start_a_child_and_sleep(folder: str) -> None:
    with subprocess.Popen(["sleep", str(FOREVER_S)]):
        sleep_after_telling(folder)


def start_children_and_sleep(folder: str) -> None:
    """Have a child, a forked copy, and a child that leaves this worker's process group."""
    if not os.fork():
        time.sleep(FOREVER_S)
        os._exit(0)
    Path(folder, "outsider").write_text(str(leave_child_in_a_session_of_its_own()))
    start_a_child_and_sleep(folder)


def leave_child_in_a_session_of_its_own() -> int:
    return subprocess.Popen(["sleep", str(FOREVER_S)], close_fds=False, start_new_session=True).pid


def leave_forked_child() -> int:
    """Leave a copy of this worker behind, its threads' locks and its channel included."""
    if child := os.fork():
        return child
    time.sleep(FOREVER_S)
    os._exit(0)


def leave_busy_exit_handler() -> None:
    atexit.register(time.sleep, FOREVER_S)
    Finalize(None, time.sleep, (FOREVER_S,), exitpriority=1)


def leave_pipe() -> tuple[int, int]:
    return os.pipe()
