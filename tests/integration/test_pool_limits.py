"""Limits of a job that runs: soft and hard timeouts with stacks, memory. Real worker processes."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from support.pool_owner import running_pool
from support.processes import is_stopped, stop
from workd.pool.deaths import Crashed, Killed, OverMemory, TimedOut

MIB = 1024 * 1024


# ── stacks ──


async def test_a_job_that_is_out_of_time_says_where_it_was() -> None:
    async with running_pool(1) as owner:
        end = await owner.submit("sleep", 60, timeout_s=0.2)
        assert isinstance(end, TimedOut)
        assert "in sleep" in end.died.stacks
        assert "pool_runner.py" in end.died.stacks
        assert "/workd/pool/" not in end.died.stacks  # only what the user can change something in


@pytest.mark.parametrize("operation", [("hold_gil", 60), ("leave_thread_and_sleep", 60)])
async def test_stacks_need_no_interpreter_and_show_all_threads(operation: tuple[object, ...]) -> None:
    async with running_pool(1) as owner:
        end = await owner.submit(*operation, timeout_s=0.2)
        assert isinstance(end, TimedOut)
        assert f"in {operation[0]}" in end.died.stacks


async def test_a_stopped_worker_says_nothing_and_is_killed_all_the_same() -> None:
    async with running_pool(1) as owner:
        started = time.monotonic()
        end = await owner.submit("stop_itself", timeout_s=0.2)
        assert isinstance(end, TimedOut)
        assert end.died.stacks == ""
        assert time.monotonic() - started < 10


async def test_a_crash_in_c_code_says_where_it_was() -> None:
    async with running_pool(1) as owner:
        end = await owner.submit("segfault")
        assert isinstance(end, Crashed)
        assert "in segfault" in end.died.stacks
        assert "crash in C code" in end.died.advice()


async def test_a_result_that_comes_after_the_time_is_over_does_not_count() -> None:
    """The question for the stacks cuts the C library's sleep short, which then returns as if all were well."""
    async with running_pool(1) as owner:
        assert isinstance(await owner.submit("hold_gil", 60, timeout_s=0.2), TimedOut)
        assert await owner.submit("echo", 1) == 1


# ── soft timeouts ──


async def test_a_soft_timeout_is_raised_in_the_job_and_its_worker_lives_on() -> None:
    async with running_pool(1) as owner:
        pid = await owner.submit("pid")
        assert await owner.submit("sleep", 60, soft_timeout_s=0.1) == "SoftTimeout"
        assert await owner.submit("pid") == pid


async def test_a_soft_timeout_in_python_code_needs_no_system_call() -> None:
    async with running_pool(1) as owner:
        assert await owner.submit("spin", 60, soft_timeout_s=0.1) == "SoftTimeout"


async def test_a_job_that_does_not_heed_the_soft_timeout_is_killed_by_the_hard_one() -> None:
    async with running_pool(1) as owner:
        end = await owner.submit("hold_gil", 60, soft_timeout_s=0.1, timeout_s=0.4)
        # The signal ends the library's sleep; what follows it in the job is the exception.
        assert end == "SoftTimeout" or isinstance(end, TimedOut)
        end = await owner.submit("swallow", 60, soft_timeout_s=0.1, timeout_s=0.4)
        assert isinstance(end, TimedOut)


async def test_an_order_that_was_given_before_the_job_began_is_found_when_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKD_FAULT_POINT", f"after_claim:2=SIGSTOP@{tmp_path}/once")
    async with running_pool(1) as owner:
        pid = await owner.submit("pid")
        job = owner.submit("sleep", 60, soft_timeout_s=0.05)
        await owner.until(lambda: is_stopped(pid))
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        await owner.until(lambda: tenant.soft_key != 0)
        os.kill(pid, signal.SIGCONT)
        assert await asyncio.wait_for(job, 10) == "SoftTimeout"


async def test_time_in_which_nobody_had_claimed_a_job_is_not_held_against_it() -> None:
    async with running_pool(1) as owner:
        pid = await owner.submit("pid")
        stop(pid)
        job = owner.submit("sleep", 0.3, soft_timeout_s=1.0)
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        await owner.until(lambda: tenant.strikes > 6)  # more than a second
        os.kill(pid, signal.SIGCONT)
        assert await asyncio.wait_for(job, 10) == 0.3


async def test_a_soft_timeout_never_hits_the_next_job() -> None:
    """Jobs that end just when their time does, each followed by jobs that have no soft timeout or a long one."""
    async with running_pool(2) as owner:
        ends = []
        for number in range(150):
            length_s = 0.02 + (number % 20) * 0.0005
            ends.append(owner.submit("spin", length_s, soft_timeout_s=0.025))
            ends.append(owner.submit("spin", 0.002))
            ends.append(owner.submit("spin", 0.002, soft_timeout_s=30.0))
        outcomes = await asyncio.gather(*ends)
        assert {*outcomes[1::3], *outcomes[2::3]} == {0.002}
        assert "SoftTimeout" in outcomes[0::3]
        assert any(outcome != "SoftTimeout" for outcome in outcomes[0::3])


# ── memory ──


async def test_a_job_that_grows_over_its_memory_limit_is_killed_from_outside() -> None:
    async with running_pool(2) as owner:
        neighbour = owner.submit("sleep", 0.5)
        end = await owner.submit("grow", 200 * MIB, MIB, 0.002, memory_limit_bytes=80 * MIB)
        assert isinstance(end, OverMemory)
        assert end.limit_bytes == 80 * MIB
        assert 80 * MIB < end.rss_bytes < 200 * MIB
        assert "in grow" in end.died.stacks
        assert await neighbour == 0.5


async def test_one_huge_allocation_over_the_limit_is_a_memory_error_in_the_job() -> None:
    async with running_pool(1) as owner:
        pid = await owner.submit("pid")
        assert await owner.submit("allocate", 4096 * MIB, memory_limit_bytes=100 * MIB) == "MemoryError"
        assert await owner.submit("pid") == pid  # its worker lives, and the limit is gone with the job:
        assert await owner.submit("allocate", 150 * MIB) == 150 * MIB


async def test_the_pools_own_memory_limit_holds_for_every_job_and_a_jobs_may_only_be_lower() -> None:
    async with running_pool(1, memory_limit_bytes=80 * MIB) as owner:
        assert isinstance(await owner.submit("grow", 200 * MIB, MIB, 0.002), OverMemory)
        end = await owner.submit("grow", 200 * MIB, MIB, 0.002, memory_limit_bytes=1000 * MIB)
        assert isinstance(end, OverMemory)
        assert end.limit_bytes == 80 * MIB
        end = await owner.submit("grow", 200 * MIB, MIB, 0.002, memory_limit_bytes=50 * MIB)
        assert isinstance(end, OverMemory)
        assert end.limit_bytes == 50 * MIB
        assert await owner.submit("echo", 1) == 1


# ── cancelling ──


async def test_many_jobs_are_cancelled_in_one_call_wherever_they_are(tmp_path: Path) -> None:
    signs = [tmp_path / "first", tmp_path / "second"]
    async with running_pool(2) as owner:
        running = owner.submit_many([("touch_and_sleep", str(sign), 60) for sign in signs])
        await owner.until(lambda: all(sign.exists() for sign in signs))  # both are claimed, not only handed over
        waiting = owner.submit_many([("sleep", 60)] * 1000)
        last = owner.submit("echo", 1)
        keys = [key for key, end in owner.ends.items() if end in running or end in waiting]
        back = owner.pool.cancel_many(keys, "not needed")
        assert len(back) == 1000
        for end in await asyncio.gather(*running):
            assert isinstance(end, Killed)
            assert end.why == "not needed"
        assert await last == 1
        assert owner.pool.cancel_many(keys, "not needed") == []


async def test_cancelling_a_job_whose_result_is_in_the_pipe_harms_nobody() -> None:
    async with running_pool(1) as owner:
        owner.task = "same"
        await asyncio.gather(*owner.submit_many([("echo", 0)] * 40))  # known as quick
        jobs = owner.submit_many([("echo", 1), ("sleep", 0.5)])
        key = next(iter(owner.pool.running())).key
        time.sleep(0.1)  # noqa: ASYNC251 - the loop must not read the first result
        owner.pool.cancel_many([key], "not needed")
        assert await asyncio.gather(*jobs) == [1, 0.5]
