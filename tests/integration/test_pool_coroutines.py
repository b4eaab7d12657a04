"""Coroutines in the pool alone, without Redis: what waits behind them, and that nobody else pays for them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.pool_owner import Recorder
from workd.pool.core import ProcessPool
from workd.pool.deaths import TimedOut
from workd.pool.frames import encode_job
from workd.pool.owner import PoolOptions
from workd.pool.requests import TASK_WORK, LoadSpec
from workd.pool.slot import Job

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

TASKS = """
import asyncio, os, sys
from workd_tasks import task

@task
def plain() -> int:
    return os.getpid()

@task
def has_loop() -> bool:
    return "workd.pool.child.looping" in sys.modules
"""
COROUTINES = """
@task(concurrency=9)
async def linger(path: str) -> int:
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
    return os.getpid()
"""


@asynccontextmanager
async def daemon_pool(folder: Path, source: str, size: int = 1) -> AsyncIterator[Recorder]:
    """Run a pool of the daemon's own workers with these tasks."""
    (folder / "some_tasks.py").write_text(source)
    options = {"modules": ["some_tasks"], "daemon_id": "test:1:0", "max_result_bytes": 1_000_000}
    options |= {"log_level": "info", "log_format": "json"}
    owner = Recorder()
    spec = LoadSpec(TASK_WORK, ("some_tasks",), options, path=(str(folder),))
    owner.pool = ProcessPool(owner, PoolOptions(size, spec))
    try:
        await owner.pool.start()
        yield owner
    finally:
        await owner.pool.stop(kill=True)


def submit(
    owner: Recorder, task: str, *args: object, concurrency: int = 0, timeout_s: float | None = None
) -> asyncio.Future[Any]:
    """Submit one job of a task and return the future of its end."""
    key = owner.pool.next_key()
    owner.ends[key] = owner.pool.boots.failed.get_loop().create_future()
    body = encode_job(b"id", task.encode(), 1, 1, json.dumps({"task": task, "args": args}).encode())
    owner.pool.submit([Job(key, body, task, timeout_s, concurrency=concurrency)])
    return owner.ends[key]


async def test_where_no_task_is_a_coroutine_function_no_worker_has_the_code_for_loops(tmp_path: Path) -> None:
    async with daemon_pool(tmp_path, TASKS) as owner:
        assert await submit(owner, "has_loop") is False


async def test_a_plain_job_waits_behind_coroutines_unclaimed_and_runs_when_they_have_ended(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with daemon_pool(tmp_path, TASKS + COROUTINES) as owner:
        lingering = [submit(owner, "linger", str(gate), concurrency=9) for _ in range(3)]
        plain = submit(owner, "plain")
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        await owner.until(lambda: tenant.shares is not None and tenant.shares.tail is not None)
        assert owner.pool.capacity().free == 0
        gate.touch()
        pids = {await one for one in [*lingering, plain]}
        assert len(pids) == 1
        assert owner.order[-1] == max(owner.ends)


async def test_what_waits_behind_coroutines_is_given_back_when_the_pool_goes_quiet(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with daemon_pool(tmp_path, TASKS + COROUTINES) as owner:
        lingering = [submit(owner, "linger", str(gate), concurrency=9) for _ in range(3)]
        submit(owner, "plain")
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        await owner.until(lambda: tenant.shares is not None and tenant.shares.tail is not None)
        await owner.until(lambda: tenant.shares is not None and tenant.shares.unsure_since > 1e9)  # they are claimed
        assert [job.task for job in owner.pool.quiet()] == ["plain"]
        gate.touch()
        for one in lingering:
            await one


async def test_what_waits_behind_coroutines_goes_to_a_worker_that_is_free(tmp_path: Path) -> None:
    gates = [tmp_path / "one", tmp_path / "two"]
    async with daemon_pool(tmp_path, TASKS + COROUTINES, size=2) as owner:
        first, second = (submit(owner, "linger", str(gate), concurrency=9) for gate in gates)
        plain = submit(owner, "plain")
        tenants = [slot.tenant for slot in owner.pool.slots]

        def holder() -> int | None:
            held = [index for index, one in enumerate(tenants) if one and one.shares and one.shares.tail]
            return held[0] if held else None

        await owner.until(lambda: holder() is not None)
        kept = holder()  # the one that was closed goes on; the other one becomes free
        assert kept is not None
        gates[1 - kept].touch()
        pid = await (second if kept == 0 else first)
        assert await plain == pid
        gates[kept].touch()
        assert await (first if kept == 0 else second) != pid


async def test_a_job_that_waits_behind_coroutines_has_all_its_time_when_it_runs(tmp_path: Path) -> None:
    async with daemon_pool(tmp_path, TASKS + COROUTINES) as owner:
        late = submit(owner, "linger", str(tmp_path / "never"), concurrency=9, timeout_s=3.0)
        plain = submit(owner, "plain", timeout_s=1.5)  # less than it waits, more than it needs
        assert isinstance(await late, TimedOut)
        assert isinstance(await plain, int)
        assert owner.pool.endings.deaths == 1
