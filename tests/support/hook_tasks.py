"""Hooks that write into the journal's folder what they do, and tasks to have them called."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workd_tasks import after_task, around_task, context, on_failure, on_worker_start, on_worker_stop, task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd_tasks import Context

_FOLDER = Path(os.environ["FAULT_TEST_FOLDER"])
_state = {"connected": 0}


def _say(word: str) -> None:
    fd = os.open(_FOLDER / "hooks", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, f"{os.getpid()} {word}\n".encode())
    os.close(fd)


@on_worker_start
def connect() -> None:
    """Fail where the test wants it."""
    if (_FOLDER / "no-connection").exists():
        raise ConnectionRefusedError("the database is not there")
    if (_FOLDER / "slow-start").exists():
        time.sleep(600)
    _state["connected"] = os.getpid()
    _say("start")


@on_worker_stop
def disconnect() -> None:
    """Take for ever where the test wants it."""
    _say("stop")
    if (_FOLDER / "slow-stop").exists():
        time.sleep(600)
    _say("stopped")


@around_task
def around(job: Context) -> Iterator[None]:
    """Say when a task begins and how it ends."""
    _say(f"before {job.task}")
    yield
    _say(f"after {job.task}")


@after_task
def value(job: Context, value: object) -> None:
    """Fail where the task wants it."""
    if value == "break the hook":
        raise RuntimeError("the hook is broken")


@on_failure
def failed(job: Context, error: BaseException) -> None:
    """Say what was raised."""
    _say(f"failed {type(error).__name__}")


@task
def connection() -> bool:
    """Say whether this very process was prepared."""
    return _state["connected"] == os.getpid()


@task
def say(word: str) -> str:
    """Return the word, or raise."""
    if word == "raise":
        raise KeyError(word)
    return word


@task
def die() -> None:
    """Take the worker along."""
    os._exit(1)


@task(timeout=20)
def look() -> dict[str, object]:
    """Return what the context says."""
    this = context()
    return {
        "queue": this.queue,
        "enqueued_at": this.enqueued_at,
        "meta": dict(this.meta),
        "remaining_s": this.remaining_s(),
    }
