"""When the results of a worker are read: at once, or every few milliseconds where it has enough to do."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from support.pool_owner import Recorder, running_pool
from support.processes import stop
from workd.pool.channel import Channel
from workd.pool.deaths import Crashed
from workd.pool.listening import AWAITED_REST_S, REST_S
from workd.pool.parsing import Frame

SHORT_S = 0.002


async def run_short(owner: Recorder, count: int, *, patient: bool) -> None:
    await asyncio.gather(*owner.submit_many([("sleep", SHORT_S)] * count, patient=patient))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many results each read brought."""
    brought: list[int] = []
    read_results = Channel.read_results

    def counted(channel: Channel) -> Iterator[Frame]:
        frames = list(read_results(channel))
        brought.append(len(frames))
        return iter(frames)

    monkeypatch.setattr(Channel, "read_results", counted)
    return brought


def rested(owner: Recorder) -> bool:
    return any(owner.pool.listening.is_resting(tenant) for tenant in owner.pool.tenants())


@pytest.mark.parametrize("patient", [True, False], ids=["nobody waits", "somebody waits"])
async def test_the_results_of_short_jobs_are_read_several_at_a_time(reads: list[int], *, patient: bool) -> None:
    async with running_pool(1, reads_seldom=True) as owner:
        await run_short(owner, 40, patient=True)
        reads.clear()
        await run_short(owner, 200, patient=patient)
        assert max(reads) > 1


async def test_a_worker_of_whose_jobs_one_is_waited_for_is_read_sooner() -> None:
    async with running_pool(1, reads_seldom=True) as owner:
        (tenant,) = owner.pool.tenants()
        patient = owner.submit_many([("sleep", SHORT_S)] * 5, patient=True)
        assert owner.pool.listening.next_read_s(tenant) == REST_S
        await asyncio.gather(*patient)
        stop(tenant.pid)  # or they might end before anybody looks
        awaited = owner.submit_many([("sleep", SHORT_S)] * 5, patient=False)
        await owner.until(lambda: tenant.impatient > 0)
        os.kill(tenant.pid, signal.SIGCONT)
        assert owner.pool.listening.next_read_s(tenant) == AWAITED_REST_S
        await asyncio.gather(*awaited)
        assert owner.pool.listening.next_read_s(tenant) == REST_S


@pytest.mark.parametrize(
    "operation", [("sleep", 0.006), ("large", 10_000)], ids=["jobs that are not so short", "large results"]
)
async def test_others_are_read_at_once(operation: tuple[object, ...]) -> None:
    async with running_pool(1, reads_seldom=True) as owner:
        await run_short(owner, 40, patient=True)
        ends = owner.submit_many([operation] * 40, patient=True)
        for end in ends[10:]:  # those before found the last of the short ones
            await end
            assert not rested(owner)


async def test_no_short_job_waits_behind_a_slow_one_whose_worker_is_seldom_read() -> None:
    async with running_pool(2, reads_seldom=True) as owner:
        owner.task = "same"  # so that nobody knows which one is slow
        await run_short(owner, 80, patient=True)
        operations = [("sleep", SHORT_S)] * 40 + [("sleep", 1.0)] + [("sleep", SHORT_S)] * 40
        ends = owner.submit_many(operations, patient=True)
        await asyncio.gather(*ends)
        slow = next(key for key, end in owner.ends.items() if end is ends[40])
        assert owner.order[-1] == slow


async def test_a_worker_that_is_seldom_read_loses_one_job_by_its_death() -> None:
    async with running_pool(1, reads_seldom=True) as owner:
        await run_short(owner, 40, patient=True)
        ends = owner.submit_many([("sleep", SHORT_S)] * 200, patient=True)
        await owner.until(lambda: rested(owner))
        (tenant,) = owner.pool.tenants()
        os.kill(tenant.pid, signal.SIGKILL)
        found = await asyncio.gather(*ends)
        assert [one for one in found if one != SHORT_S and not isinstance(one, Crashed)] == []
        assert sum(isinstance(one, Crashed) for one in found) <= 1


async def test_few_jobs_are_read_at_once() -> None:
    async with running_pool(1, reads_seldom=True) as owner:
        await run_short(owner, 40, patient=True)
        for end in owner.submit_many([("sleep", SHORT_S)] * 5, patient=False):
            await end
            assert not rested(owner)


async def test_a_pool_whose_results_are_for_this_program_reads_all_of_them_at_once() -> None:
    async with running_pool(1) as owner:
        await run_short(owner, 40, patient=True)
        for end in owner.submit_many([("sleep", SHORT_S)] * 40, patient=True):
            await end
            assert not rested(owner)
