"""Tasks for producers in other languages: what goes there comes back, or does not."""

from __future__ import annotations

from typing import Any

from workd_tasks import task


@task
def echo(value: Any) -> Any:
    """Return what came."""
    return value


@task
def fail(why: str) -> None:
    """Raise."""
    raise ValueError(why)
