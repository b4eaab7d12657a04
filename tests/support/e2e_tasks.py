"""Tasks of the end-to-end tests: what people's tasks look like."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from workd_tasks import Reject, Retry, context, task


@task
def later(when: dt.datetime, days: int = 1) -> dt.datetime:
    """Take and return what JSON has no word for."""
    return when + dt.timedelta(days=days)


@task(max_retries=3, backoff_s=0.05)
def third_time(path: str) -> int:
    """Succeed in the third attempt."""
    with Path(path).open("a") as file:
        file.write(f"{context().attempt}\n")
    if context().attempt < 3:
        message = f"not yet at attempt {context().attempt}"
        raise ValueError(message)
    return context().attempt


@task
def who() -> dict[str, str | int]:
    """Return what the context says."""
    return {"id": context().id, "task": context().task, "attempt": context().attempt, "delivery": context().delivery}


@task
def unfit() -> object:
    """Return what JSON cannot hold."""
    return object()


@task
def reject() -> None:
    """Refuse for good."""
    raise Reject("not for me")


@task(max_retries=1)
def ask_again() -> int:
    """Ask for another run in a moment."""
    if context().attempt == 1:
        raise Retry(after_s=0.01)
    return context().attempt


@task(result_ttl=60)
def kept() -> str:
    """Have its result kept by its own option."""
    return "kept"
