"""Tasks that listen to `should_stop`, or do not, and tell how far they are. They write the fault tests' journal."""

from __future__ import annotations

import asyncio
import contextlib
import time

from support.fault_tasks import _FOLDER as FOLDER
from support.fault_tasks import note, wait_at
from workd_tasks import Retry, SoftTimeout, context, task

_POLL_S = 0.005
_TTL_S = 600


@task(result_ttl=_TTL_S, max_retries=3, backoff_s=0.01)
def listen(how: str = "return") -> str:
    """Work until told to stop; then return, fail, or ask to be gone on with."""
    note("start")
    context().progress(1, 4, "listening")
    while not context().should_stop():
        time.sleep(_POLL_S)
    note("end")
    if how == "raise":
        raise ValueError("half done")
    if how == "retry" and context().delivery == 1:
        raise Retry
    return "half a result"


@task(result_ttl=_TTL_S, max_retries=3, backoff_s=0.01)
def deaf(gate: str) -> None:
    """Never ask."""
    note("start")
    with contextlib.suppress(SoftTimeout):
        wait_at(gate)


@task(result_ttl=_TTL_S)
def reporting(gate: str, count: int = 1_000) -> str:
    """Report very often, wait at a gate, and report once more before a second one."""
    note("start")
    for number in range(count):
        context().progress(number, count, f"item {number}")
    context().progress(count // 2, count, "half")
    wait_at(gate)
    context().progress(count, count, "whole")
    wait_at(f"{gate}-end")
    return "done"


@task(result_ttl=_TTL_S, concurrency=50)
async def linger_on(gate: str) -> str:
    """Wait at a gate beside others, and tidy up when it is cancelled."""
    note("start")
    context().progress(1, 2, gate)
    try:
        while not (FOLDER / gate).exists():  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(_POLL_S)
    except asyncio.CancelledError:
        note("tidy")
        raise
    return "through"


@task(result_ttl=_TTL_S, concurrency=50)
async def refuse_to_go(gate: str) -> str:
    """Swallow the cancellation."""
    note("start")
    while not (FOLDER / gate).exists():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(_POLL_S)
    return "through"


@task(result_ttl=_TTL_S, concurrency=50)
async def listen_on() -> str:
    """Work until told to stop."""
    note("start")
    while not context().should_stop():  # noqa: ASYNC110 - a flag that is polled is what is tried here
        await asyncio.sleep(_POLL_S)
    return "half a result"
