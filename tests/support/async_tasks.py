"""Coroutine functions as tasks, for tests with real daemons: what several of them do in one worker.

Loaded beside `support.fault_tasks`, whose journal and gates they use.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import mmap
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from support.fault_tasks import _FOLDER as FOLDER
from support.fault_tasks import _TTL_S as TTL_S
from support.fault_tasks import note
from workd_tasks import SoftTimeout, context, task

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.01
_kept: dict[str, Any] = {}  # what lives as long as the worker


async def _wait_at(gate: str) -> None:
    while not (FOLDER / gate).exists():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(POLL_S)


@task(result_ttl=TTL_S, concurrency=50)
async def linger(gate: str) -> int:
    """Wait at a gate beside others and return this worker's pid."""
    note("start")
    await _wait_at(gate)
    note("end")
    return os.getpid()


@task(result_ttl=TTL_S, concurrency=1000)
async def crowd(gate: str = "") -> int:
    """Wait at a gate, or for ever, beside as many others as there may be."""
    note("start")
    await (_wait_at(gate) if gate else asyncio.sleep(600))
    return os.getpid()


@task(result_ttl=TTL_S, concurrency=2)
async def linger_two(gate: str) -> int:
    """Do the same with one other."""
    note("start")
    await _wait_at(gate)
    note("end")
    return os.getpid()


@task(result_ttl=TTL_S)
async def solo(gate: str = "") -> int:
    """Wait at a gate, alone in the worker unless the daemon says otherwise."""
    note("start")
    if gate:
        await _wait_at(gate)
    note("end")
    return os.getpid()


@task(result_ttl=TTL_S, concurrency=50)
async def nap(seconds: float) -> str:
    """Sleep, and say under which id it ran."""
    note("start")
    before = context().id
    await asyncio.sleep(seconds)
    note("end")
    return f"{before} {context().id}"


@task(result_ttl=TTL_S, concurrency=50)
async def perish(how: str, gate: str, times: int = 1_000) -> str:
    """Wait at a gate, then take the worker down at the first `times` deliveries."""
    note("start")
    await _wait_at(gate)
    if context().delivery <= times:
        _DEATHS[how]()
    return "alive"


def _segfault() -> None:
    ctypes.string_at(8)


_DEATHS: dict[str, Callable[[], Any]] = {
    "exit": lambda: os._exit(7),
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": _segfault,
    "close_fds": lambda: os.closerange(0, 65_536),
}


@task(result_ttl=TTL_S, concurrency=50)
async def overstay(how: str, gate: str = "") -> str:
    """Never end; `gate` opens its bad behaviour."""
    note("start")
    if gate:
        await _wait_at(gate)
    if how == "block":
        time.sleep(600)  # noqa: ASYNC251 - that is the point
    while True:
        try:
            await asyncio.sleep(600)
        except SoftTimeout:
            note("soft")
            if how == "heed":
                raise


@task(result_ttl=TTL_S, concurrency=50)
async def reach(how: str) -> str:
    """Do what people do to a loop that is not theirs alone."""
    note("start")
    return await _REACHES[how]()


async def _leave() -> str:
    _kept["leftover"] = asyncio.create_task(asyncio.sleep(600))
    return "left"


async def _look() -> str:
    return "cancelled" if _kept["leftover"].cancelled() else "alive"


async def _keep() -> str:
    _kept["kept"] = asyncio.create_task(asyncio.sleep(600), context=contextvars.Context())
    return "kept"


async def _look_at_kept() -> str:
    return "alive" if not _kept["kept"].done() else "ended"


async def _loop() -> str:
    return str(_kept.setdefault("loop", asyncio.get_running_loop()) is asyncio.get_running_loop())


async def _child_exits() -> str:
    await asyncio.create_task(_exit())
    return "not reached"


async def _exit() -> str:
    sys.exit(3)


async def _fork() -> str:
    return "child" if os.fork() == 0 else "parent"


async def _cancel_all() -> str:
    for one in asyncio.all_tasks():
        one.cancel()
    await asyncio.sleep(0)
    return "not reached"


async def _where_am_i() -> str:
    return await asyncio.create_task(_id())  # a child sees the context of its job


async def _id() -> str:
    return context().id


async def _child_process() -> str:
    child = await asyncio.create_subprocess_exec("echo", "from a child", stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    return f"{said.decode().strip()}, {await child.wait()}"


async def _thread() -> str:
    return await asyncio.to_thread(lambda: context().id)


_REACHES = {
    "child process": _child_process,
    "thread": _thread,
    "leave": _leave,
    "look": _look,
    "keep": _keep,
    "look at kept": _look_at_kept,
    "loop": _loop,
    "exit": _exit,
    "child exits": _child_exits,
    "fork": _fork,
    "cancel all": _cancel_all,
    "where": _where_am_i,
}


@task(result_ttl=TTL_S, concurrency=50, soft_timeout=0.2, timeout=60)
async def heed() -> None:
    """Wait until the soft timeout, and say that it came."""
    await _note_soft()


@task(result_ttl=TTL_S, concurrency=50, soft_timeout=60)
async def obey(gate: str) -> None:
    """Do the same with a soft timeout that is far away."""
    del gate
    await _note_soft()


@task(result_ttl=TTL_S, concurrency=50)
async def deaf() -> None:
    """Go on whatever is raised here."""
    note("start")
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(600)


async def _note_soft() -> None:
    note("start")
    try:
        await asyncio.sleep(600)
    except SoftTimeout:
        note("soft")
        raise


@task(result_ttl=TTL_S, concurrency=50)
async def hog(size_bytes: int) -> int:
    """Use memory for some time, of a kind that no resource limit counts."""
    note("start")
    piece = mmap.mmap(-1, size_bytes)
    for start in range(0, size_bytes, mmap.PAGESIZE):
        piece[start] = 1
    await asyncio.sleep(600)
    return len(piece)


@task(result_ttl=TTL_S, concurrency=50)
async def at_once() -> None:
    """Take no time at all."""
