"""Tasks to be looked at from outside: in Python, in C code with and without the interpreter's lock, in coroutines.

Each writes a file when it has begun. Those that wait go on once a second file exists.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import re
import signal
import threading
import time
from pathlib import Path

from workd_tasks import task


def _begin(folder: str, name: str) -> None:
    (Path(folder) / name).touch()


def _is_open(folder: str) -> bool:
    return (Path(folder) / "go on").exists()


@task
def wait_in_python(folder: str) -> str:
    """Sleep, in short naps, until told to go on."""
    _begin(folder, "began")
    while not _is_open(folder):
        time.sleep(0.01)
    return "waited"


@task
def sleep_long(folder: str, seconds: float) -> float:
    """Sleep once; return how long that was."""
    _begin(folder, "began")
    before = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - before


@task
def sum_up(folder: str, to: int) -> int:
    """Add numbers in C code that keeps the interpreter's lock."""
    _begin(folder, "began")
    return sum(range(to))


@task
def match(folder: str, length: int) -> bool:
    """Match a pattern that needs very long, in C code that keeps the interpreter's lock."""
    _begin(folder, "began")
    return re.fullmatch(r"(a+)+b", "a" * length) is not None


@task
def hash_beside_hot_threads(folder: str, rounds: int) -> int:
    """Hash in C code without the interpreter's lock, while other threads call one another as fast as they can."""
    stop = threading.Event()
    threads = [threading.Thread(target=_be_hot, args=(stop,), name=f"hot-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    _begin(folder, "began")
    digest = hashlib.pbkdf2_hmac("sha256", b"x", b"y", rounds)
    stop.set()
    for thread in threads:
        thread.join()
    return len(digest)


@task
def wait_beside_hot_threads(folder: str) -> int:
    """Wait in Python while other threads call one another as fast as they can."""
    stop = threading.Event()
    threads = [threading.Thread(target=_be_hot, args=(stop,), name=f"hot-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    _begin(folder, "began")
    while not _is_open(folder):
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    return len(threads)


def _be_hot(stop: threading.Event) -> None:
    while not stop.is_set():
        _go_down(200)


def _go_down(depth: int) -> int:
    return 0 if depth == 0 else 1 + _go_down(depth - 1)


@task
def run_own_loop(folder: str) -> int:
    """Run an event loop of the task's own, with coroutines that wait in it."""
    return asyncio.run(_gather(folder))


async def _gather(folder: str) -> int:
    _begin(folder, "began")
    await asyncio.gather(*(_wait(folder) for _ in range(3)))
    return 3


async def _wait(folder: str) -> None:
    while not _is_open(folder):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)


@task(concurrency=20)
async def linger(folder: str, name: str) -> str:
    """Wait beside others, in coroutines of its own."""
    _begin(folder, name)
    await _gather(folder)
    return name


@task(concurrency=1000)
async def rest(folder: str, name: str) -> None:
    """Wait beside others until the worker is killed."""
    _begin(folder, name)
    await asyncio.sleep(600)


@task
def block_signals(folder: str) -> bool:
    """Hold back the signals by which a worker is asked, in a wait of C code that nothing ends but the time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(signal.SIGRTMIN, signal.SIGRTMAX))
    _begin(folder, "began")
    while not _is_open(folder):
        time.sleep(0.01)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, range(signal.SIGRTMIN, signal.SIGRTMAX))
    return True


@task
def take_handlers_away(folder: str) -> bool:
    """Have the default action for the signal by which a worker is asked: the end of the process."""
    from workd.pool import board

    before = signal.signal(board.QUESTION_SIGNAL, signal.SIG_DFL)
    _begin(folder, "began")
    while not _is_open(folder):
        time.sleep(0.01)
    signal.signal(board.QUESTION_SIGNAL, before)
    return True


@task
def read_a_pipe(folder: str) -> tuple[int, str]:
    """Wait in C code that calls `read` once, and knows no EINTR."""
    fd = os.open(Path(folder) / "pipe", os.O_RDONLY)
    buffer = ctypes.create_string_buffer(100)
    _begin(folder, "began")
    try:
        return ctypes.CDLL(None).read(fd, buffer, 100), buffer.value.decode()
    finally:
        os.close(fd)


@task
def add(first: int, second: int) -> int:
    """Add, after a little work in Python."""
    total = 0
    for number in range(10_000):
        total += number * 0
    return total + first + second
