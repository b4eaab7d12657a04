"""Where the workers of a pool are, asked while they work: what each kind of task shows, and that none notices."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from support.pool_owner import SEARCH_PATH, Recorder
from support.processes import is_stopped
from support.waiting import eventually_async
from workd.pool import board
from workd.pool.core import ProcessPool
from workd.pool.frames import encode_job
from workd.pool.owner import PoolOptions
from workd.pool.requests import TASK_WORK, LoadSpec
from workd.pool.slot import Job
from workd.pool.xray import Look, Xray

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from workd.control_wire import Stack
    from workd.pool.slot import Tenant

TASKS = "support.xray_tasks"
ANY_S = 60.0


@asynccontextmanager
async def task_pool(size: int = 1) -> AsyncIterator[Recorder]:
    options = {"modules": [TASKS], "daemon_id": "test:1:0", "max_result_bytes": 1_000_000}
    options |= {"log_level": "info", "log_format": "json"}
    owner = Recorder()
    owner.pool = ProcessPool(owner, PoolOptions(size, LoadSpec(TASK_WORK, (TASKS,), options, path=SEARCH_PATH)))
    try:
        await owner.pool.start()
        yield owner
    finally:
        await owner.pool.stop(kill=True)


def submit(owner: Recorder, task: str, *args: object, concurrency: int = 0) -> asyncio.Future[Any]:
    key = owner.pool.next_key()
    end = owner.ends[key] = asyncio.get_running_loop().create_future()
    body = encode_job(b"id", task.encode(), 1, 1, json.dumps({"task": task, "args": args}).encode())
    owner.pool.submit([Job(key, body, task, None, concurrency=concurrency)])
    return end


async def begun(owner: Recorder, folder: Path, task: str, *args: object) -> asyncio.Future[Any]:
    (folder / "began").unlink(missing_ok=True)
    end = submit(owner, task, str(folder), *args)
    await eventually_async((folder / "began").exists, ANY_S)
    return end


def worker(owner: Recorder) -> Tenant:
    [tenant] = owner.pool.tenants()
    return tenant


def names(stack: Stack) -> list[str]:
    return [frame.function for frame in stack.frames]


def main_of(look: Look) -> list[str]:
    assert look.stacks, look
    assert (look.stacks[0].kind, look.stacks[0].name) == ("thread", "MainThread")
    return names(look.stacks[0])


# ── what is seen ──


async def test_an_idle_worker_is_in_nobodys_code() -> None:
    async with task_pool() as owner:
        look = await Xray().look(worker(owner))
        assert main_of(look) == []


async def test_a_task_that_sleeps_shows_its_line_and_sleeps_as_long_as_before(tmp_path: Path) -> None:
    async with task_pool() as owner:
        sleep_s = 2.0
        end = await begun(owner, tmp_path, "sleep_long", sleep_s)
        looks = [await Xray().look(worker(owner))]
        while end.done():  # this machine is too slow for so short a sleep
            sleep_s *= 5
            end = await begun(owner, tmp_path, "sleep_long", sleep_s)
            looks = [await Xray().look(worker(owner))]
        looks += [await Xray().look(worker(owner)) for _ in range(9)]
        assert main_of(looks[0])[-1] == "sleep_long"
        frame = looks[0].stacks[0].frames[-1]
        assert frame.file.endswith("support/xray_tasks.py")
        assert frame.line > 1
        assert await end >= sleep_s


@pytest.mark.parametrize(("task", "argument"), [("sum_up", 60_000_000), ("match", 24)])
async def test_c_code_that_keeps_the_interpreters_lock_is_seen_and_goes_on(
    tmp_path: Path, task: str, argument: int
) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, task, argument)
        xray, look = Xray(), await Xray().look(worker(owner))
        while task == "sum_up" and look.how == "answer" and not end.done():  # it was not there yet
            look = await xray.look(worker(owner))
        assert main_of(look)[-1] == task
        if task == "sum_up":  # the other lets signal handlers run now and then
            assert look.how == "signal"
            assert "C code" in look.note
        assert await end == (sum(range(argument)) if task == "sum_up" else False)


async def test_all_threads_are_seen_with_their_names(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "wait_beside_hot_threads")
        look = await Xray().look(worker(owner))
        assert look.how == "answer"
        assert main_of(look)[-1] == "wait_beside_hot_threads"
        assert sorted(stack.name for stack in look.stacks[1:]) == ["hot-0", "hot-1", "hot-2"]
        assert all("_be_hot" in names(stack) for stack in look.stacks[1:] if len(stack.frames) < 60)
        (tmp_path / "go on").touch()
        assert await end == 3


async def test_frames_that_change_are_not_read_under_the_feet_of_their_threads(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "hash_beside_hot_threads", 3_000_000)
        looks = [await Xray().look(worker(owner)) for _ in range(3)]
        asked = [look for look in looks if look.how == "signal"]
        assert asked, "the main thread was not in C code"
        assert all(len(look.stacks) == 1 and "could harm" in look.note for look in asked)
        assert main_of(asked[0]) == ["hash_beside_hot_threads"]
        assert await end == 32


async def test_each_coroutine_in_a_worker_is_seen_with_its_job(tmp_path: Path) -> None:
    async with task_pool() as owner:
        ends = {name: submit(owner, "linger", str(tmp_path), name, concurrency=20) for name in ("a", "b")}
        await eventually_async(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists(), ANY_S)
        keys = {job.key for job in owner.pool.running()}
        look = await Xray().look(worker(owner))
        assert look.how == "answer"
        coroutines = [stack for stack in look.stacks if stack.kind == "coroutine"]
        assert {stack.key for stack in coroutines} == keys
        own = [names(stack) for stack in coroutines if "linger" in names(stack)]
        assert own == [["_gather", "linger"]] * 2
        assert sum(names(stack)[-1:] == ["_wait"] for stack in coroutines) == 6, "those that a job has made"
        (tmp_path / "go on").touch()
        assert [await end for end in ends.values()] == ["a", "b"]


async def test_each_of_hundreds_of_coroutines_is_seen(tmp_path: Path) -> None:
    async with task_pool() as owner:
        for number in range(500):
            submit(owner, "rest", str(tmp_path), str(number), concurrency=1000)
        await eventually_async(lambda: sum(1 for _ in tmp_path.iterdir()) == 500, ANY_S)
        look = await Xray().look(worker(owner))
        rests = [stack for stack in look.stacks if "rest" in names(stack)]
        assert {stack.key for stack in rests} == {job.key for job in owner.pool.running()}
        assert len(rests) == 500


async def test_the_coroutines_of_a_tasks_own_loop_are_seen(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "run_own_loop")

        waiting = 0
        async with asyncio.timeout(ANY_S):
            while waiting != 3:  # the loop may just have begun
                look = await Xray().look(worker(owner))
                waiting = sum("_wait" in names(stack) for stack in look.stacks if stack.kind == "coroutine")
        (tmp_path / "go on").touch()
        assert await end == 3


async def test_a_system_call_that_the_kernel_restarts_is_not_cut_short(tmp_path: Path) -> None:
    async with task_pool() as owner:
        os.mkfifo(tmp_path / "pipe")
        writer = os.open(tmp_path / "pipe", os.O_RDWR)
        try:
            end = await begun(owner, tmp_path, "read_a_pipe")
            for _ in range(5):
                look = await Xray().look(worker(owner))
                assert main_of(look)[-1] == "read_a_pipe"
            os.write(writer, b"said")
            assert await end == [4, "said"]
        finally:
            os.close(writer)


# ── who does not answer ──


async def test_a_worker_that_is_stopped_is_said_to_be_stopped_and_goes_on_unharmed(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "wait_in_python")
        tenant = worker(owner)
        tenant.signal(signal.SIGSTOP)
        await eventually_async(lambda: is_stopped(tenant.pid), ANY_S)
        look = await Xray().look(tenant)
        assert (look.how, look.stacks) == ("none", ())
        assert "stopped by a signal" in look.note
        tenant.signal(signal.SIGCONT)
        (tmp_path / "go on").touch()
        assert await end == "waited"
        assert board.stacks_size(tenant.channel.board_fd) == 0, "it was left a signal to obey when it goes on"


async def test_a_task_that_blocks_the_signal_is_said_to(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "block_signals")
        look = await Xray().look(worker(owner))
        assert look.how == "none"
        assert "blocks the signal" in look.note
        (tmp_path / "go on").touch()
        assert await end is True


async def test_a_worker_that_would_die_of_the_question_is_not_asked(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "take_handlers_away")
        look = await Xray().look(worker(owner))
        assert "has taken away the handlers" in look.note
        (tmp_path / "go on").touch()
        assert await end is True


async def test_what_a_task_writes_onto_the_board_is_believed_by_nobody() -> None:
    async with task_pool() as owner:
        fd = worker(owner).channel.board_fd
        board.write_answer(fd, 7, b'{"places":[],"stacks":[{"kind":"thread","name":"x","frames":[0]}]}')
        look = await Xray().look(worker(owner))
        assert [stack.name for stack in look.stacks] == ["MainThread"]


# ── it changes nothing ──


async def test_who_asks_while_another_does_has_the_same_answer(tmp_path: Path) -> None:
    async with task_pool() as owner:
        end = await begun(owner, tmp_path, "wait_in_python")
        xray = Xray()
        first, second = await asyncio.gather(xray.look(worker(owner)), xray.look(worker(owner)))
        assert first is second
        (tmp_path / "go on").touch()
        assert await end == "waited"


@pytest.mark.timeout(300)
async def test_a_thousand_looks_during_a_run_of_many_jobs_lose_and_double_nothing() -> None:
    async with task_pool(2) as owner:
        xray, looks = Xray(), 0
        ends = [submit(owner, "add", number, 1) for number in range(4_000)]
        more = len(ends)
        while looks < 1_000:
            found = await asyncio.gather(*(xray.look(tenant) for tenant in owner.pool.tenants()))
            looks += sum(look.how != "none" for look in found)
            if all(end.done() for end in ends):
                ends += [submit(owner, "add", more + number, 1) for number in range(1_000)]
                more = len(ends)
        assert [await end for end in ends] == [number + 1 for number in range(more)]
        assert len(owner.order) == len(set(owner.order)) == more
        assert owner.pool.stats().deaths == 0
