"""Tasks with limits, for daemons of the tests: each run adds a line to one file when it starts, and one when it ends.

A line is one `write` on a file opened for appending, so the lines of all processes stand in the order of their writing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from workd_tasks import context, task

_FOLDER = Path(os.environ["FAULT_TEST_FOLDER"])
_TTL_S = 600
_POLL_S = 0.005


def _note(word: str) -> None:
    fd = os.open(_FOLDER / "runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.write(fd, f"{word} {context().id} {time.time()}\n".encode())
    finally:
        os.close(fd)


def _run(seconds: float, gate: str) -> int:
    _note("start")
    try:
        time.sleep(seconds)
        while gate and not any((_FOLDER / name).exists() for name in (gate, f"{gate}-{context().delivery}")):
            time.sleep(_POLL_S)
        return os.getpid()
    finally:
        _note("end")


@task(result_ttl=_TTL_S, concurrency_limit=3)
def narrow(seconds: float = 0.0, gate: str = "") -> int:
    """Three at once."""
    return _run(seconds, gate)


@task(result_ttl=_TTL_S, concurrency_limit=1)
def single(seconds: float = 0.0, gate: str = "") -> int:
    """One at once."""
    return _run(seconds, gate)


@task(result_ttl=_TTL_S, rate_limit="40/s", rate_burst=4)
def paced(seconds: float = 0.0, gate: str = "") -> int:
    """Forty a second, four at once."""
    return _run(seconds, gate)


@task(result_ttl=_TTL_S)
def wide(seconds: float = 0.0, gate: str = "") -> int:
    """Any number at once."""
    return _run(seconds, gate)


@task(concurrency_limit=4)
def short() -> None:
    """Four at once, and over before one looks."""
