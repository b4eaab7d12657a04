"""Tasks of tests/system, copied into the machines as `shop`. What they ran is in a file, one line a run."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from workd_tasks import context, task

VERSION = "first"
STATE = Path("/var/lib/workd")
_TTL_S = 3600
_POLL_S = 0.01


def _note(line: str) -> None:
    """Write one line with one write: lines of workers that are killed never mix."""
    fd = os.open(STATE / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


@task(result_ttl=_TTL_S)
def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


@task(result_ttl=_TTL_S)
def count(number: int, pause_s: float = 0.02) -> int:
    """Take some time, write the number down and return it."""
    time.sleep(pause_s)
    _note(str(number))
    return number


@task(result_ttl=_TTL_S)
def hold(gate: str) -> str:
    """Write down that it runs, wait until the file `gate` is there and return."""
    _note(gate)
    while not (STATE / gate).exists():
        time.sleep(_POLL_S)
    return gate


@task(result_ttl=_TTL_S, max_retries=0)
def eat(mebibytes: int) -> int:
    """Take so much memory, and write to all of it."""
    eaten = [b"x" * 2**20 for _ in range(mebibytes)]
    return len(eaten)


@task(result_ttl=_TTL_S)
def version() -> str:
    """Return what this module says of itself."""
    return VERSION


@task(result_ttl=_TTL_S)
def say(text: str) -> str:
    """Say it in the ways that people have, and return this job's id."""
    logging.getLogger("shop").warning("logged: %s", text)
    print(f"printed: {text}")  # noqa: T201 - that is what is tested
    return context().id


@task(result_ttl=_TTL_S)
def environment() -> dict[str, str]:
    """Return what a task sees of its environment."""
    return dict(os.environ)
