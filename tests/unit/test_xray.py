"""What runs here, and that to ask for it holds nobody up."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from workd import xray
from workd.pool.slot import TenantState
from workd.pool.xray import Look
from workd.xray import Inspector

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    T = TypeVar("T")

JOBS = 1_000


class Worker(SimpleNamespace):
    """One of the pool's, as far as anybody looks at it."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # each is itself, as a real one is


def worker(index: int, jobs: int) -> Any:
    """Return a worker with so many coroutines, in this very process."""
    entry = SimpleNamespace(queue="default", counters=SimpleNamespace(attempts=0))
    return Worker(
        slot=SimpleNamespace(index=index),
        pid=os.getpid(),
        state=TenantState.READY,
        head_since=0.0,
        shares=SimpleNamespace(tail=None),
        jobs={
            key: SimpleNamespace(
                key=key,
                task="fetch",
                since=0.0,
                ref=SimpleNamespace(job_id=f"{index}-{key}", entry=entry, delivery=1),
            )
            for key in range(jobs)
        },
    )


@pytest.fixture
async def inspector(monkeypatch: pytest.MonkeyPatch) -> Inspector:
    monkeypatch.setattr(xray, "SAMPLE_S", 0.0)
    workers = [worker(0, JOBS), worker(1, 3)]
    running = [job for one in workers for job in one.jobs.values()]
    pool = SimpleNamespace(tenants=lambda: iter(workers), waiting=[], size=2, running=lambda: running)
    made = Inspector(cast("Any", pool))

    async def look(_: object) -> Look:
        return Look(note="nobody is asked")

    made._xray = cast("Any", SimpleNamespace(look=look))
    return made


async def turns_of(work: Awaitable[T]) -> tuple[T, int]:
    """Wait for something; return it, and how many turns the loop had for others meanwhile."""
    waiting, turns = asyncio.ensure_future(work), 0
    while not waiting.done():
        await asyncio.sleep(0)
        turns += 1
    return waiting.result(), turns


async def test_each_job_is_told_with_how_many_run_beside_it(inspector: Inspector) -> None:
    rows, more = await inspector.jobs()
    assert more == 0
    assert {row.slot: row.shared_by for row in rows} == {0: JOBS, 1: 3}
    assert len({row.id for row in rows}) == JOBS + 3


async def test_a_look_at_many_jobs_leaves_the_loop_its_turns(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    heads = xray._heads

    def counting(tenant: Any) -> Any:
        nonlocal asked
        asked += 1
        return heads(tenant)

    monkeypatch.setattr(xray, "_heads", counting)
    (rows, _), turns = await turns_of(inspector.jobs())
    assert len(rows) == JOBS + 3
    assert turns > JOBS / 100
    assert asked == 2, "each worker is gone through once, not once for each of its jobs"


async def test_the_log_is_written_in_turns(inspector: Inspector) -> None:
    with structlog.testing.capture_logs() as lines:
        _, turns = await turns_of(inspector.write_to_log())
    said = [line["event"] for line in lines]
    assert said.count("x-ray: a job runs") == JOBS + 3
    assert said[-1] == "x-ray"
    assert turns > JOBS / 20
