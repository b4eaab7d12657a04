"""Tasks of the tests of groups and chains."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from workd_tasks import context, task


@task
def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@task(name="plus")  # the samples have an `add`, and one process may load both
def add(number: int, other: int = 0) -> int:
    """Return a sum: of the value of the step before, mostly."""
    return number + other


@task
def tell(text: str, suffix: str = "") -> str:
    """Return text."""
    return f"{text}{suffix}"


@task
def odd_one_out(number: int, every: int) -> int:
    """Fail for each number that divides."""
    if number % every == 0:
        message = f"{number} is one of them"
        raise ValueError(message)
    return number


@task
def wait_for(path: str, number: int = 0) -> int:
    """Wait until there is a file."""
    while not Path(path).exists():
        time.sleep(0.01)
    return number


@task
def touch_and_wait(started: str, path: str) -> None:
    """Make a file, and wait until there is another."""
    Path(started).touch()
    wait_for(path)


@task(max_retries=2, backoff_s=0.01)
def second_time(number: int) -> int:
    """Succeed in the second attempt."""
    if context().attempt == 1:
        message = "not yet"
        raise ValueError(message)
    return number


@task
def crash_once(number: int) -> int:
    """Kill the worker in the first run."""
    if context().delivery == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task
def collect(summary: dict[str, Any], path: str = "", name: str = "") -> dict[str, Any]:
    """Be a group's callback: leave a line for each run, and return what was given."""
    if path:
        with Path(path).open("a") as file:
            file.write(f"{summary['id']} {name}\n")
    return summary


@task
def large(size: int) -> str:
    """Return a text of this size."""
    return "x" * size


@task
def whole(value: Any) -> Any:
    """Return whatever it gets."""
    return value
