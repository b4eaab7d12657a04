"""Tasks that use one option of `@task` each. They write into the journal of the fault tests."""

from __future__ import annotations

import os
import time

from support.fault_tasks import note, wait_at
from workd_tasks import Reject, Retry, SoftTimeout, context, task

LATE_S = 3.0  # more than a busy machine takes to start a job
_MIB = 1024 * 1024


@task(soft_timeout=0.3, timeout=60, max_retries=1, backoff_s=0)
def soft() -> None:
    """Clean up when its time is up, and say so."""
    note("start")
    try:
        time.sleep(60)
    except SoftTimeout:
        note("cleaned up")
        raise


@task(soft_timeout=0.3, timeout=60)
def thrifty() -> str:
    """Return what it has when its time is up."""
    try:
        time.sleep(60)
    except SoftTimeout:
        return "half"
    return "whole"


@task(memory_limit="64M", max_crashes=1)
def swell() -> int:
    """Grow beyond the limit in small steps."""
    note("start")
    held = []
    while True:
        held.append(os.urandom(_MIB))
        time.sleep(0.002)


@task(memory_limit="64M")
def gulp() -> int:
    """Grow beyond the limit in one step."""
    return len(bytes(512 * _MIB))


_kept: list[bytes] = []


@task
def keep(mebibytes: int) -> int:
    """Leave so much behind in the worker."""
    _kept.append(os.urandom(mebibytes * _MIB))
    return os.getpid()


@task(max_retries=2, backoff_s=0, retry_for=OSError, no_retry_for=FileNotFoundError)
def picky(what: str) -> None:
    """Fail in one of three ways."""
    note("start")
    raise {"os": OSError("os"), "file": FileNotFoundError("file"), "value": ValueError("value")}[what]


@task(max_crashes=1, max_retries=5)
def fragile() -> None:
    """Take its worker along."""
    note("start")
    os._exit(1)


@task(expires=LATE_S)
def perishable() -> None:
    """Be of no use later."""


@task(start_by=LATE_S, max_retries=1, backoff_s=LATE_S + 1, jitter=False)
def prompt(fail: bool = False) -> int:
    """Start soon; a retry may come late."""
    note("start")
    if fail and context().attempt == 1:
        raise ValueError("once more")
    return context().attempt


@task(unique=True, result_ttl=60)
def only_one(gate: str, *, note_it: bool = True) -> str:
    """Wait at a gate."""
    if note_it:
        note("start")
    wait_at(gate)
    return gate


@task(max_retries=1)
def ask(again: bool) -> int:
    """Ask for another run, or refuse the job."""
    note("start")
    if not again:
        raise Reject("not this one")
    if context().attempt == 1:
        raise Retry(after_s=0.01) from ValueError("not yet")
    return context().attempt
