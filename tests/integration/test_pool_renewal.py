"""Workers that are replaced while they live: by count, age, growth, for new code, by a new size. Real processes."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.pool_owner import Recorder, running_pool
from support.processes import stop
from workd.errors import BootError
from workd.pool.memory import resident_bytes

MIB = 1024 * 1024


async def watch_ready(owner: Recorder, size: int, lows: list[int]) -> None:
    """Write down whenever fewer than `size` workers can take jobs."""
    while True:
        if (ready := owner.pool.stats().ready) < size:
            lows.append(ready)
        await asyncio.sleep(0)


def pids_of(owner: Recorder) -> set[int]:
    """Return the pids of all workers."""
    return {worker.pid for worker in owner.pool.stats().workers}


# ── recycling ──


async def test_a_worker_runs_exactly_so_many_jobs_and_not_one_more() -> None:
    async with running_pool(3, max_tasks=5) as owner:
        owner.task = "same"
        pids = await asyncio.gather(*owner.submit_many([("pid",)] * 150))
        assert max(Counter(pids).values()) == 5
        assert Counter(pids).most_common()[0][1] == 5
        assert owner.pool.stats().deaths == 0


async def test_what_was_taken_back_is_not_counted_as_run() -> None:
    async with running_pool(1, max_tasks=4) as owner:
        owner.task = "same"
        await asyncio.gather(
            *owner.submit_many([("echo", 0)] * 3)
        )  # one is left of its budget, and it is known as quick
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        stop(tenant.pid)
        waiting = owner.submit("pid")
        assert tenant.budget == 0
        owner.pool.put_back(tenant.take_back())
        assert tenant.budget == 1
        os.kill(tenant.pid, signal.SIGCONT)
        owner.pool.fill()
        assert await asyncio.wait_for(waiting, 20) > 0


@pytest.mark.parametrize("options", [{"max_age_s": 0.2}, {"max_growth_bytes": 30 * MIB}])
async def test_an_old_or_large_worker_is_replaced_between_two_jobs_and_its_slot_is_never_empty(
    options: dict[str, Any],
) -> None:
    async with running_pool(1, **options) as owner:
        lows: list[int] = []
        watching = asyncio.ensure_future(watch_ready(owner, 1, lows))
        first = await owner.submit("pid")
        assert await owner.submit("keep", 40 * MIB) == 40 * MIB
        await owner.until(lambda: owner.pool.stats().recycled == 1)
        assert await owner.submit("pid") != first
        watching.cancel()
        assert lows == []
        assert owner.pool.stats().deaths == 0


async def test_a_worker_that_does_not_grow_stays() -> None:
    async with running_pool(1, max_growth_bytes=30 * MIB) as owner:
        first = await owner.submit("pid")
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        for _ in range(3):
            await owner.submit("allocate", 100 * MIB)  # and given back
            await owner.until(lambda: tenant.weighed_done == tenant.done)
        assert await owner.submit("pid") == first


async def test_what_a_job_uses_while_it_runs_is_no_growth_yet() -> None:
    async with running_pool(1, max_growth_bytes=30 * MIB) as owner:
        slot = owner.pool.slots[0]
        tenant = slot.tenant
        assert tenant is not None
        job = owner.submit("grow", 60 * MIB, 2 * MIB, 0.02)
        await owner.until(lambda: resident_bytes(tenant.pid) > tenant.baseline_bytes + 31 * MIB)
        tenant.weighed_done = -1  # as after a job before this one
        owner.pool.renewal.look_at(tenant, asyncio.get_running_loop().time())
        assert not slot.renewing
        assert await job == 30


async def test_a_long_job_is_not_cut_short_by_the_age_of_its_worker() -> None:
    async with running_pool(1, max_age_s=0.1) as owner:
        assert await owner.submit("sleep", 0.5) == 0.5
        await owner.until(lambda: owner.pool.stats().recycled >= 1)


async def test_a_worker_that_dies_while_its_successor_boots_is_succeeded_at_once() -> None:
    async with running_pool(1, max_age_s=0.2, runner={"start_s": 0.3}) as owner:
        slot = owner.pool.slots[0]
        await owner.until(lambda: slot.successor is not None)
        assert slot.tenant is not None
        successor = slot.successor
        os.kill(slot.tenant.pid, signal.SIGKILL)
        await owner.until(lambda: slot.tenant is successor)
        assert await owner.submit("echo", 1) == 1


async def test_a_successor_that_dies_is_made_again_and_the_old_worker_goes_on() -> None:
    async with running_pool(1, max_age_s=0.2, runner={"start_s": 0.3}) as owner:
        slot = owner.pool.slots[0]
        await owner.until(lambda: slot.successor is not None)
        assert slot.successor is not None
        os.kill(slot.successor.pid, signal.SIGKILL)
        assert await owner.submit("echo", 1) == 1
        await owner.until(lambda: owner.pool.stats().recycled >= 1)


async def test_a_retired_worker_that_does_not_leave_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.pool.renewal.LEAVE_S", 0.3)
    async with running_pool(1, max_tasks=1) as owner:
        await owner.submit("stop_when_told_to_leave")
        await owner.until(lambda: owner.pool.stats().recycled == 1)
        await owner.until(lambda: len(owner.pool.stats().workers) == 1)


# ── size ──


async def test_a_pool_grows_and_shrinks_under_load_and_loses_nothing() -> None:
    async with running_pool(2) as owner:
        jobs = owner.submit_many([("sleep", 0.005)] * 400)
        for size in (5, 1, 3, 4, 2):
            owner.pool.resize(size)
            await owner.until(lambda size=size: owner.pool.stats().ready == size)
        assert await asyncio.gather(*jobs) == [0.005] * 400
        await owner.until(lambda: len(owner.pool.stats().workers) == 2)
        assert owner.pool.stats().deaths == 0


async def test_a_slot_that_goes_finishes_its_job_and_gives_back_what_waits_in_it() -> None:
    async with running_pool(2) as owner:
        long = owner.submit_many([("sleep", 0.3)] * 2)
        owner.pool.resize(1)
        assert owner.pool.stats().size == 1
        more = owner.submit_many([("echo", number) for number in range(10)])
        assert await asyncio.gather(*long) == [0.3, 0.3]
        assert await asyncio.gather(*more) == list(range(10))
        assert len(owner.pool.slots) == 1


async def test_slots_that_go_while_their_workers_boot_leave_nothing() -> None:
    async with running_pool(1, runner={"start_s": 0.2}) as owner:
        for pause_s in (0.0, 0.05, 0.15):
            owner.pool.resize(4)
            await asyncio.sleep(pause_s)
            owner.pool.resize(1)
            await owner.until(lambda: len(owner.pool.stats().workers) == 1)
        assert owner.pool.stats().boot_failures == 0
        assert await owner.submit("echo", 1) == 1


# ── new code ──


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "reloaded_module.py"


async def test_new_code_is_in_every_slot_after_a_reload_and_no_job_is_lost(module: Path) -> None:
    module.write_text("version = 1\n")
    async with running_pool(2, modules=("reloaded_module",)) as owner:
        lows: list[int] = []
        watching = asyncio.ensure_future(watch_ready(owner, 2, lows))
        assert await owner.submit("version") == 1
        jobs = owner.submit_many([("sleep", 0.01)] * 100)
        module.write_text("version = 'two'\n")
        before = owner.pool.boots.forkserver_pid
        await owner.pool.reload()
        assert await asyncio.gather(*owner.submit_many([("version",)] * 20)) == ["two"] * 20
        assert await asyncio.gather(*jobs) == [0.01] * 100
        assert owner.pool.boots.forkserver_pid != before
        await owner.until(lambda: not Path(f"/proc/{before}").exists())
        watching.cancel()
        assert lows == []
        assert owner.pool.stats().deaths == 0


@pytest.mark.parametrize("source", ["1 / 0\n", "import no_such_module_at_all\n", "import os\nos._exit(3)\n"])
async def test_code_that_does_not_import_changes_nothing_and_is_reported(module: Path, source: str) -> None:
    module.write_text("version = 1\n")
    async with running_pool(2, modules=("reloaded_module",)) as owner:
        pids = pids_of(owner)
        module.write_text(source)
        with pytest.raises(BootError, match="reloaded_module"):
            await owner.pool.reload()
        assert pids_of(owner) == pids
        assert await owner.submit("version") == 1
        os.kill(min(pids), signal.SIGKILL)  # what follows it has the old code, too
        await owner.until(lambda: min(pids) not in pids_of(owner) and owner.pool.stats().ready == 2)
        assert await asyncio.gather(*owner.submit_many([("version",)] * 4)) == [1] * 4


async def test_code_whose_workers_do_not_start_is_taken_back(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    async with running_pool(2, runner={"fail_on_start": str(broken)}) as owner:
        forkserver = owner.pool.boots.forkserver_pid
        broken.touch()
        with pytest.raises(BootError, match="the database of the test is away"):
            await owner.pool.reload()
        broken.unlink()
        assert owner.pool.boots.forkserver_pid == forkserver
        await owner.until(lambda: owner.pool.stats().ready == 2 and len(owner.pool.stats().workers) == 2)
        assert await owner.submit("echo", 1) == 1


async def test_code_whose_workers_do_not_start_is_taken_back_also_if_no_former_worker_is_left(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    async with running_pool(1, runner={"fail_on_start": str(broken)}) as owner:
        forkserver = owner.pool.boots.forkserver_pid
        broken.touch()

        def kill_the_last(_catalogue: object) -> None:
            (pid,) = pids_of(owner)
            os.kill(pid, signal.SIGKILL)

        with pytest.raises(BootError, match="the database of the test is away"):
            await owner.pool.reload(kill_the_last)
        broken.unlink()
        assert owner.pool.boots.forkserver_pid == forkserver
        await owner.until(lambda: owner.pool.stats().ready == 1)
        assert await owner.submit("echo", 1) == 1


async def test_a_reload_goes_past_a_long_job_and_waits_for_it_in_its_own_slot_alone() -> None:
    async with running_pool(2) as owner:
        long = owner.submit("sleep", 5.0)
        await owner.pool.reload()
        assert not long.done()
        assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(20)])) == list(range(20))
        assert await long == 5.0
        await owner.until(lambda: owner.pool.stats().recycled == 2)


async def test_a_second_reload_while_a_job_still_holds_up_the_first_is_the_one_that_counts(module: Path) -> None:
    module.write_text("version = 1\n")
    async with running_pool(1, modules=("reloaded_module",)) as owner:
        long = owner.submit("sleep", 0.6)
        for text in ("version = 'second'\n", "version = 'the third'\n"):
            module.write_text(text)
            await owner.pool.reload()
        assert await long == 0.6
        assert await owner.submit("version") == "the third"


async def test_a_forkserver_that_dies_during_a_reload_is_replaced(module: Path) -> None:
    module.write_text("version = 1\n")
    async with running_pool(2, modules=("reloaded_module",)) as owner:
        reloading = asyncio.ensure_future(owner.pool.reload())
        os.kill(owner.pool.boots.forkserver_pid, signal.SIGKILL)
        await asyncio.wait([reloading], timeout=10)
        assert reloading.done()
        if not isinstance(reloading.exception(), BootError):
            assert reloading.exception() is None
        await owner.until(lambda: owner.pool.stats().ready == 2)
        assert await owner.submit("version") == 1


async def test_a_new_forkserver_that_dies_before_its_first_worker_is_replaced_and_the_reload_goes_on(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_text("version = 1\n")
    async with running_pool(2, modules=("reloaded_module",)) as owner:
        monkeypatch.setenv("WORKD_FAULT_POINT", f"forkserver_before_fork@{tmp_path}/once")
        module.write_text("version = 'two'\n")
        await asyncio.wait_for(owner.pool.reload(), 20)
        assert (tmp_path / "once").exists()
        assert await asyncio.gather(*owner.submit_many([("version",)] * 10)) == ["two"] * 10
        assert owner.pool.stats().deaths == 0


async def test_a_worker_that_boots_when_the_reload_begins_is_no_boot_failure() -> None:
    async with running_pool(2, runner={"start_s": 0.3}) as owner:
        victim = min(pids_of(owner))
        os.kill(victim, signal.SIGKILL)
        await owner.until(lambda: len(pids_of(owner)) == 2 and victim not in pids_of(owner))  # its successor boots
        await owner.pool.reload()
        assert owner.pool.stats().boot_failures == 0
        assert await owner.submit("echo", 1) == 1
