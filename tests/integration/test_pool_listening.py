"""When the results of a worker are read: at once, or every few milliseconds where nobody waits for them."""

import asyncio
import os
import signal

import pytest

from support.pool_owner import Recorder, running_pool
from workd.pool.channel import Channel
from workd.pool.deaths import Crashed

SHORT_S = 0.002


async def run_short(owner: Recorder, count: int, *, patient: bool) -> None:
    await asyncio.gather(*owner.submit_many([("sleep", SHORT_S)] * count, patient=patient))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Channel]:
    made = []
    read_results = Channel.read_results

    def counted(channel: Channel) -> object:
        made.append(channel)
        return read_results(channel)

    monkeypatch.setattr(Channel, "read_results", counted)
    return made


def rested(owner: Recorder) -> bool:
    return any(owner.pool.listening.is_resting(tenant) for tenant in owner.pool.tenants())


async def test_results_that_nobody_waits_for_are_read_several_at_a_time(reads: list[Channel]) -> None:
    async with running_pool(1) as owner:
        await run_short(owner, 40, patient=True)
        reads.clear()
        await run_short(owner, 100, patient=True)
        assert len(reads) < 60


@pytest.mark.parametrize(
    ("operation", "patient"),
    [(("sleep", SHORT_S), False), (("sleep", 0.006), True), (("large", 10_000), True)],
    ids=["somebody waits", "jobs that are not so short", "large results"],
)
async def test_others_are_read_at_once(operation: tuple[object, ...], *, patient: bool) -> None:
    async with running_pool(1) as owner:
        await run_short(owner, 40, patient=True)
        ends = owner.submit_many([operation] * 40, patient=patient)
        for end in ends[10:]:  # those before found the last of the short ones
            await end
            assert not rested(owner)


async def test_no_short_job_waits_behind_a_slow_one_whose_worker_is_seldom_read() -> None:
    async with running_pool(2) as owner:
        owner.task = "same"  # so that nobody knows which one is slow
        await run_short(owner, 80, patient=True)
        operations = [("sleep", SHORT_S)] * 40 + [("sleep", 1.0)] + [("sleep", SHORT_S)] * 40
        ends = owner.submit_many(operations, patient=True)
        await asyncio.gather(*ends)
        slow = next(key for key, end in owner.ends.items() if end is ends[40])
        assert owner.order[-1] == slow


async def test_a_worker_that_is_seldom_read_loses_one_job_by_its_death() -> None:
    async with running_pool(1) as owner:
        await run_short(owner, 40, patient=True)
        ends = owner.submit_many([("sleep", SHORT_S)] * 200, patient=True)
        await owner.until(lambda: rested(owner))
        (tenant,) = owner.pool.tenants()
        os.kill(tenant.pid, signal.SIGKILL)
        found = await asyncio.gather(*ends)
        assert [one for one in found if one != SHORT_S and not isinstance(one, Crashed)] == []
        assert sum(isinstance(one, Crashed) for one in found) <= 1


async def test_a_job_that_somebody_waits_for_is_not_held_up_by_those_before_it() -> None:
    async with running_pool(1) as owner:
        await run_short(owner, 40, patient=True)
        ends = owner.submit_many([("sleep", SHORT_S)] * 5, patient=True)
        (waited_for,) = owner.submit_many([("sleep", SHORT_S)])
        await asyncio.gather(*ends, waited_for)
        assert not rested(owner)
