"""Jobs go in, results come out: sizes, order, fairness. Real worker processes."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from support.pool_owner import Recorder, running_pool
from workd.pool import frames
from workd.pool.balance import Capacity
from workd.pool.slot import Job


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_results_and_deaths_are_told_under_both_event_loops(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        async with running_pool(2) as owner:
            assert await asyncio.gather(*owner.submit_many([("echo", n) for n in range(200)])) == list(range(200))
            assert (await owner.submit("exit", 3)).died.exit_code == 3
            assert await owner.submit("echo", "after") == "after"

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_all_slots_work_and_the_jobs_are_spread_over_them() -> None:
    async with running_pool(3) as owner:
        done = await asyncio.gather(*(owner.submit("sleep", 0.2) for _ in range(3)))
        assert done == [0.2] * 3
        pids = await asyncio.gather(*owner.submit_many([("pid",) for _ in range(300)]))
        assert set(pids) <= {slot.tenant.pid for slot in owner.pool.slots if slot.tenant}


async def test_arguments_of_every_size_arrive_whole() -> None:
    limit = frames.MAX_INLINE_BODY
    sizes = [0, 1, limit - 100, limit, limit + 1, 3_000_000, 50_000_000]
    async with running_pool(2) as owner:
        assert await asyncio.gather(*(owner.submit("length", "x" * size) for size in sizes)) == sizes


async def test_results_of_every_size_arrive_whole_and_small_ones_do_not_wait_for_a_large_one() -> None:
    async with running_pool(2) as owner:
        large = owner.submit("large", 50_000_000)
        assert await asyncio.gather(*(owner.submit("large", size) for size in (0, 1, 65_536, 1_048_576))) == [
            "",
            "x",
            "x" * 65_536,
            "x" * 1_048_576,
        ]
        assert len(await large) == 50_000_000


async def test_many_large_arguments_fit_though_no_socket_holds_them_all() -> None:
    async with running_pool(2) as owner:
        await learn(owner, "length", "x")
        sizes = [60_000] * 200
        assert await asyncio.gather(*owner.submit_many([("length", "x" * size) for size in sizes])) == sizes


async def test_a_result_over_the_limit_costs_its_worker_and_its_job_alone() -> None:
    async with running_pool(1, max_result_bytes=1000) as owner:
        how = await owner.submit("large", 2000)
        assert "limit is 1000" in how.died.note
        assert len(await owner.submit("large", 900)) == 900


async def test_no_job_waits_behind_a_slow_one() -> None:
    async with running_pool(2) as owner:
        await learn(owner, "sleep", 0.001)
        quick = owner.submit_many([("sleep", 0.001)] * 500)
        slow = owner.submit("sleep", 2)  # the same task as all the others
        quick += owner.submit_many([("sleep", 0.001)] * 500)
        await asyncio.gather(*quick)
        assert not slow.done()
        assert await slow == 2


async def test_what_is_not_started_within_a_second_is_given_back() -> None:
    async with running_pool(1, return_waiting=True) as owner:
        await learn(owner, "sleep", 0.001)  # so that the slot would buffer what comes after the slow one
        started = asyncio.get_running_loop().time()
        slow, *others = owner.submit_many([("sleep", 20), *[("sleep", 0.001)] * 20])
        await asyncio.wait(others)
        assert asyncio.get_running_loop().time() - started > 0.9
        assert len(owner.returned) == 20
        assert not slow.done()


async def test_without_that_option_nothing_is_given_back() -> None:
    async with running_pool(1) as owner:
        await learn(owner, "sleep", 0.001)
        jobs = owner.submit_many([("sleep", 1.3), *[("sleep", 0.001)] * 20])
        await asyncio.gather(*jobs)
        assert owner.returned == []


async def test_jobs_of_one_worker_are_run_in_the_order_of_their_submission() -> None:
    async with running_pool(1) as owner:
        jobs = owner.submit_many([("echo", n) for n in range(1000)])
        await asyncio.gather(*jobs)
        assert owner.order == sorted(owner.order)


async def test_a_suspect_job_has_nothing_waiting_behind_it_and_waits_behind_nothing() -> None:
    async with running_pool(1) as owner:
        await learn(owner, "echo", 1)
        slow = owner.submit("sleep", 0.2)
        suspect = owner.submit("sleep", 0.2, alone=True)
        later = owner.submit_many([("echo", n) for n in range(5)])
        await slow
        assert [job.task for job in owner.pool.running()] == ["sleep"]
        assert await suspect == 0.2
        assert await asyncio.gather(*later) == list(range(5))


async def test_the_capacity_grows_with_what_the_pool_learns() -> None:
    async with running_pool(2) as owner:
        assert owner.pool.capacity() == Capacity(free=2, whole=2, idle=2)
        await learn(owner, "echo", 1)
        capacity = owner.pool.capacity()
        assert capacity.free == capacity.whole > 50
        owner.pool.quiet()
        assert owner.pool.capacity() == Capacity(free=0, whole=0, idle=0)


async def test_an_idle_socket_that_takes_nothing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_pool(1) as owner:
        tenant = owner.pool.slots[0].tenant
        assert tenant is not None
        tries = 0
        send = tenant.channel.send

        def refuse_at_first(job: Job) -> bool:
            nonlocal tries
            tries += 1
            return tries > 3 and send(job)

        monkeypatch.setattr(tenant.channel, "send", refuse_at_first)
        job = owner.submit("echo", 1)
        assert tries == 1  # and not again and again in the same turn
        assert await asyncio.wait_for(job, 20) == 1


async def test_workers_hold_no_descriptor_of_their_siblings() -> None:
    async with running_pool(4) as owner:
        for _ in range(4):  # born when three siblings live
            await owner.submit("exit", 1)
        await owner.until(lambda: all(slot.ready for slot in owner.pool.slots))
        for links in await asyncio.gather(*owner.submit_many([("descriptors",)] * 8)):
            sockets = [link for link in links if link.startswith("socket:")]
            pipes = [link for link in links if link.startswith("pipe:")]
            assert len(sockets) == 1, links  # its own channel
            assert len(set(pipes)) == 2, links  # the lifeline and its own results
            boards = [link for link in links if link.startswith("/memfd:workd-board")]
            assert len(boards) == 1, links  # its own board
            assert len(sockets) + len(pipes) + len(boards) == len(links)


async def test_workers_are_nice_and_deaf_to_signals_that_are_meant_for_the_daemon() -> None:
    async with running_pool(1, nice=5) as owner:
        assert await owner.submit("nice") == os.nice(0) + 5
        assert await owner.submit("signals") == "alive"


async def test_the_oom_killer_takes_workers_before_their_daemon() -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    async with running_pool(1, nice=5) as owner:
        assert await owner.submit("oom_score_adj") == min(ours + 300, 1000)
    async with running_pool(1) as owner:  # of a program, which has its own idea of who matters
        assert await owner.submit("oom_score_adj") == ours


async def learn(owner: Recorder, *operation: object) -> None:
    """Have the pool learn how quick an operation is."""
    await asyncio.gather(*owner.submit_many([operation] * 40))


async def test_a_body_that_no_descriptor_is_left_for_fails_that_job_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(body: bytes, rest: bytes) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async with running_pool(1) as owner:
        monkeypatch.setattr(frames, "spill", refuse)
        large, small = owner.submit_many([("length", "x" * 200_000), ("echo", 1)])
        assert "can't be handed over: Too many open files" in str(await large)
        assert await small == 1
        monkeypatch.undo()
        assert await owner.submit("length", "x" * 200_000) == 200_000


async def test_an_exception_in_a_callback_of_the_loop_breaks_the_pool_visibly() -> None:
    async with running_pool(1) as owner:

        def fail() -> None:
            raise RuntimeError("the owner's room is not in order")

        owner.on_room = fail  # type: ignore[method-assign]
        assert await owner.submit("echo", 1) == 1
        with pytest.raises(RuntimeError, match="not in order"):
            await asyncio.wait_for(asyncio.shield(owner.pool.boots.failed), 20)
