from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from workd import overview
from workd.clock import Clock
from workd.pool.slot import TenantState
from workd.tallies import OTHER, Tallies


def job(job_id: str, since: float = 0.0) -> SimpleNamespace:
    entry = SimpleNamespace(queue="default", counters=SimpleNamespace(attempts=0))
    return SimpleNamespace(task="resize", since=since, ref=SimpleNamespace(job_id=job_id, entry=entry, delivery=1))


def shown(*jobs: SimpleNamespace, shares: Any = None) -> dict[str, Any]:
    """Return what is told of a worker that has these jobs, at loop time 100."""
    tenant = SimpleNamespace(
        slot=SimpleNamespace(index=0), pid=1, state=TenantState.READY, done=0, head_since=90.0, shares=shares
    )
    tenant.jobs = dict(enumerate(jobs))
    return overview._worker(cast("Any", tenant), {}, 100.0)


def ids_and_seconds(told: dict[str, Any]) -> list[tuple[str, float]]:
    return [(one["id"], one["seconds"]) for one in told["running"]]


def test_of_jobs_one_after_the_other_the_first_runs() -> None:
    told = shown(job("a"), job("b"), job("c"))
    assert ids_and_seconds(told) == [("a", 10.0)]
    assert told["buffered"] == 2
    assert shown()["buffered"] == 0


def test_jobs_that_share_a_worker_run_side_by_side_but_for_one_that_waits_to_be_alone() -> None:
    beside, alone = [job("a", 95.0), job("b", 99.0)], job("c")
    told = shown(*beside, shares=SimpleNamespace(tail=None))
    assert (ids_and_seconds(told), told["buffered"]) == ([("a", 5.0), ("b", 1.0)], 0)
    told = shown(*beside, alone, shares=SimpleNamespace(tail=alone))
    assert (ids_and_seconds(told), told["buffered"]) == ([("a", 5.0), ("b", 1.0)], 1)


async def test_many_tasks_are_told_in_turns_also_while_a_reload_brings_more() -> None:
    tallies = Tallies(["default"], Clock())
    tallies.know(f"task-{number}" for number in range(1_000))
    telling, turns = asyncio.ensure_future(overview._tasks(tallies.by_task)), 0
    while not telling.done():
        await asyncio.sleep(0)
        tallies.know([f"new-{turns}"])
        turns += 1
    assert turns > 10
    told = telling.result()
    assert {OTHER, "task-0", "task-999"} <= told.keys()
    assert told["task-0"]["succeeded"] == 0
