"""Coroutine functions as hooks of workers, which write down what they do, and tasks beside them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from workd_tasks import on_worker_start, on_worker_stop, task

_FOLDER = Path(os.environ["FAULT_TEST_FOLDER"])
_state: dict[str, Any] = {}


def _say(word: str) -> None:
    fd = os.open(_FOLDER / "hooks", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, f"{os.getpid()} {word}\n".encode())
    os.close(fd)


@on_worker_start
async def connect() -> None:
    """Keep something in the loop, or fail where the test wants it."""
    await asyncio.sleep(0)
    if (_FOLDER / "no-connection").exists():
        raise ConnectionRefusedError("the database is not there")
    _state["loop"] = asyncio.get_running_loop()
    _state["kept"] = asyncio.create_task(asyncio.sleep(600))
    _say("start")


@on_worker_start
def after_connecting() -> None:
    """Come second, as it was registered."""
    _say(f"connected {'loop' in _state}")


@on_worker_stop
async def disconnect() -> None:
    """Say whether all is there that the start has left in the loop."""
    await asyncio.sleep(0)
    is_same = asyncio.get_running_loop() is _state["loop"]
    _say(f"stop {is_same} {not _state['kept'].done()}")


@task
async def is_in_its_loop() -> bool:
    """Say whether this runs in the loop in which the worker was prepared."""
    await asyncio.sleep(0)
    return asyncio.get_running_loop() is _state["loop"] and not _state["kept"].done()


@task
def plain() -> bool:
    """Say whether this worker was prepared."""
    return "loop" in _state
