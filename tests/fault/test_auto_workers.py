"""`workers = auto`: as many workers as the load asks for, none while there is nothing to do, one for the first job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest

from support.changing_code import ENVIRONMENT, MODULE, ChangingCode
from support.notify import NotifySocket
from support.supervisors import supervisor
from support.waiting import eventually_async
from workd import capacity, pressure, scaling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from support.fault_queue import FaultQueue
    from workd.capacity import Look
    from workd.supervisor import Supervisor

PATIENCE_S = 60.0
FAILING = """
import workd_tasks
@workd_tasks.on_worker_start
def fail():
    raise RuntimeError("no database")
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as manager:
        yield manager


class Run(Protocol):
    def __call__(self, **settings: object) -> AbstractAsyncContextManager[Supervisor]: ...


@pytest.fixture
def run(queue: FaultQueue, tmp_path: Path, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a supervisor in this loop, on a machine that has plenty of all."""
    monkeypatch.setattr(pressure, "read", pressure.Pressure)

    def run(**settings: object) -> AbstractAsyncContextManager[Supervisor]:
        chosen = {"workers": "auto", "workers_max": 4} | settings
        return supervisor(queue.server.url, tmp_path, manager, monkeypatch, **chosen)

    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a quiet time is over soon."""
    monkeypatch.setattr(capacity, "QUIET_S", 0.3)
    monkeypatch.setattr(scaling, "QUIET_S", 0.3)


async def all_ended(queue: FaultQueue, jobs: list[str]) -> None:
    await eventually_async(lambda: len(queue.outcomes()) == len(jobs), PATIENCE_S)
    queue.all_ended(jobs)


async def test_it_grows_while_jobs_wait_up_to_its_bound(run: Run, queue: FaultQueue) -> None:
    async with run() as running:
        assert running._pool.size == 1
        jobs = [queue.push("hold", "gate") for _ in range(6)]
        await eventually_async(lambda: len(queue.runs()) == 4, PATIENCE_S)
        assert running._pool.size == 4
        assert running._vitals.ready().ok
        queue.open_gate("gate")
        await all_ended(queue, jobs)
        assert all(outcome["deliveries"] == 1 for outcome in queue.outcomes())


async def test_it_does_not_grow_for_jobs_of_a_paused_queue_or_while_it_is_quiet(run: Run, queue: FaultQueue) -> None:
    async with run() as running:
        jobs = [queue.push("hold", "gate") for _ in range(2)]
        await eventually_async(lambda: len(queue.runs()) == 1, PATIENCE_S)
        running.quiet()
        looks: list[Look] = []
        see = running._scaler._see

        def seeing() -> Look:
            looks.append(see())
            return looks[-1]

        running._scaler._see = seeing  # type: ignore[method-assign]
        while len(looks) < 5:
            running._dispatcher.on_change()
            await asyncio.sleep(0.01)
        assert {look.waiting for look in looks} == {0}
        assert running._pool.size == 1
        running.resume()
        await eventually_async(lambda: len(queue.runs()) == 2, PATIENCE_S)
        queue.open_gate("gate")
        await all_ended(queue, jobs)


@pytest.mark.usefixtures("impatient")
async def test_without_work_there_are_no_workers_and_the_first_job_brings_one(run: Run, queue: FaultQueue) -> None:
    async with run(workers_min=0) as running:
        for number in range(3):
            await eventually_async(lambda: not running._pool.slots, PATIENCE_S)
            assert running._vitals.ready().ok
            assert running.scale_by(-1)
            assert not running._pool.slots, "one fewer than none is none"
            job = queue.push("quick", number)
            await eventually_async(lambda job=job: queue.outcomes(job), PATIENCE_S)  # type: ignore[misc]
            queue.succeeded(job, value=number, attempts=1, deliveries=1)


@pytest.mark.usefixtures("impatient")
async def test_a_worker_with_a_long_job_is_not_taken_away(run: Run, queue: FaultQueue) -> None:
    async with run(workers_min=0) as running:
        jobs = [queue.push("hold", "gate"), queue.push("hold", "other"), queue.push("hold", "other")]
        await eventually_async(lambda: len(queue.runs()) == 3, PATIENCE_S)
        queue.open_gate("other")
        await eventually_async(lambda: running._pool.size == 1 and len(running._pool.slots) == 1, PATIENCE_S)
        assert len(running._pool.running()) == 1
        queue.open_gate("gate")
        await all_ended(queue, jobs)
        assert all(outcome["deliveries"] == 1 for outcome in queue.outcomes())


@pytest.mark.usefixtures("impatient")
async def test_who_asks_for_a_number_gets_it_until_the_settings_are_read_again(run: Run, queue: FaultQueue) -> None:
    async with run(workers_min=0) as running:
        assert running.scale(3)
        await eventually_async(lambda: running._vitals.details()["workers_ready"] == 3, PATIENCE_S)
        running._scaler._look = lambda: pytest.fail("the load was asked")  # type: ignore[method-assign]
        for _ in range(5):
            running._dispatcher.on_change()
            await asyncio.sleep(0.01)
        del running._scaler._look
        assert await running.reload() == ""
        await eventually_async(lambda: not running._pool.slots, PATIENCE_S)
        for wrong in (0, 4097):
            with pytest.raises(ValueError, match="1 to 4096"):
                running.scale(wrong)


@pytest.mark.usefixtures("impatient")
async def test_a_reload_without_workers_finds_out_whether_one_comes_up(
    run: Run, queue: FaultQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    code = ChangingCode(tmp_path)
    code.write("one")
    async with run(workers_min=0, modules=(MODULE,)) as running:
        for more, trouble, version in ((FAILING, "no database", "one"), ("", "", "two")):
            await eventually_async(lambda: not running._pool.slots, PATIENCE_S)
            code.write("two", more)
            assert trouble in (said := await running.reload())
            assert bool(said) == bool(trouble)
            await eventually_async(lambda: not running._pool.slots, PATIENCE_S)
            job = queue.push("version")
            await eventually_async(lambda job=job: queue.outcomes(job), PATIENCE_S)  # type: ignore[misc]
            queue.succeeded(job, value=version, attempts=1, deliveries=1)
