"""Tasks whose spans are looked at."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from workd import Client
from workd_tasks import Reject, Retry, context, task

_TTL_S = 600


@task(result_ttl=_TTL_S)
def ids() -> dict[str, str]:
    """Return the ids of the span that is current in the task, and say something in it."""
    logging.getLogger("mine").info("in the span")
    trace: Any = sys.modules.get("opentelemetry.trace")
    found = trace.get_current_span().get_span_context() if trace is not None else None
    if found is None or not found.is_valid:
        return {}
    return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}


@task(result_ttl=_TTL_S)
async def ids_in_loop() -> dict[str, str]:
    """The same of a coroutine function."""
    return ids()


@task(result_ttl=_TTL_S, max_retries=3, backoff_s=0.01)
def at_last(times: int) -> int:
    """Fail so many times, then return."""
    if context().attempt <= times:
        raise ValueError("not yet")
    return context().attempt


@task(result_ttl=_TTL_S, max_retries=3)
def again() -> int:
    """Ask for another run, once."""
    if context().attempt == 1:
        raise Retry(after_s=0.01)
    return 1


@task(result_ttl=_TTL_S)
def refuse() -> None:
    """Refuse its job."""
    raise Reject("no")


@task(result_ttl=_TTL_S)
def add(value: int, more: int = 1) -> int:
    """A step of a chain, a member of a group."""
    return value + more


@task(result_ttl=_TTL_S)
def total(summary: dict[str, Any]) -> int:
    """A group's callback."""
    return len(summary)


@task(result_ttl=_TTL_S)
def send_another(url: str) -> str:
    """Enqueue a job in a job."""
    with Client(url) as client:
        return client.enqueue(add, 1).id


@task(result_ttl=_TTL_S)
def die() -> None:
    """Take the worker down."""
    os.kill(os.getpid(), signal.SIGKILL)
