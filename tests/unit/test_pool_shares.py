"""Several jobs in one worker: how many it may have, when it is looked at, and what its death means for each."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from workd.pool.deaths import Crashed, Killed, KillOrder, OverMemory, Suspected, TimedOut, WorkerDied
from workd.pool.sharing import losses
from workd.pool.slot import Job, Slot, Tenant, TenantState

DIED = WorkerDied(12, 0, status_known=True, exit_code=3, signal=None, peak_rss_bytes=None, ran_s=None)


def tenant() -> Tenant:
    unclaimed: list[int] = []
    parts: Any = SimpleNamespace(send=lambda job: True, take_back=lambda: unclaimed, unclaimed=unclaimed)
    return Tenant(Slot(0), 1, -1, parts, parts, boot_deadline=0.0, state=TenantState.READY)


def job(key: int, concurrency: int = 3, timeout_s: float | None = None, memory: int | None = None) -> Job:
    return Job(key, b"", "task", timeout_s, concurrency=concurrency, memory_limit_bytes=memory)


def _is_shared(worker: Tenant) -> bool:
    return worker.shares is not None


def test_a_worker_takes_as_many_as_the_least_tolerant_of_its_jobs_allows() -> None:
    worker = tenant()
    for key in (1, 2):
        assert worker.has_room(job(key), 0.0)
        worker.hand_over(job(key), 0.0)
    assert worker.has_room(job(3), 0.0)
    assert not worker.has_room(job(3, concurrency=2), 0.0)  # with it there would be three
    three = job(3)
    worker.hand_over(three, 0.0)
    assert not worker.has_room(job(4, concurrency=9), 0.0)
    worker.finish(three)
    assert worker.has_room(job(4, concurrency=9), 0.0)


def test_when_the_least_tolerant_has_ended_there_is_room_again() -> None:
    worker, narrow = tenant(), job(1, concurrency=2)
    worker.hand_over(narrow, 0.0)
    worker.hand_over(job(2, concurrency=9), 0.0)
    assert not worker.has_room(job(3, concurrency=9), 0.0)
    worker.finish(narrow)
    assert worker.has_room(job(3, concurrency=9), 0.0)


@pytest.mark.parametrize("other", [0, 1])
def test_what_runs_alone_and_what_does_not_are_never_in_one_worker(other: int) -> None:
    shared, alone = tenant(), tenant()
    shared.hand_over(job(1), 0.0)
    alone.hand_over(job(2, concurrency=other), 0.0)
    assert not shared.has_room(job(3, concurrency=other), 0.0)
    assert not alone.has_room(job(4), 0.0)


def test_a_worker_at_the_end_of_its_budget_takes_no_further_one() -> None:
    worker = tenant()
    worker.budget = 2
    worker.hand_over(job(1), 0.0)
    worker.hand_over(job(2), 0.0)
    assert not worker.has_room(job(3), 0.0)


def test_the_books_are_closed_with_the_last_job_whether_it_ended_or_was_taken_back() -> None:
    worker = tenant()
    one, two = job(1), job(2)
    worker.hand_over(one, 0.0)
    worker.hand_over(two, 0.0)
    worker.channel.unclaimed.append(2)  # type: ignore[attr-defined]
    assert worker.take_back() == [two]
    assert _is_shared(worker)
    worker.finish(one)
    assert not _is_shared(worker)
    assert worker.has_room(job(3, concurrency=0), 0.0)


def test_a_look_is_due_when_the_first_timeout_is_over_and_plan_finds_the_next() -> None:
    worker, first, second = tenant(), job(1, timeout_s=5.0), job(2, timeout_s=1.0)
    worker.hand_over(first, 100.0)
    worker.hand_over(second, 103.0)
    shares = worker.shares
    assert shares is not None
    assert (shares.due, shares.unsure_since) == (104.0, 100.0)
    worker.finish(second)
    shares.plan(worker.jobs.values())
    assert shares.due == 105.0
    shares.plan([job(3)])
    assert shares.due == math.inf


def test_only_jobs_with_a_memory_limit_have_the_memory_looked_at() -> None:
    worker, limited = tenant(), job(1, memory=1000)
    worker.hand_over(limited, 0.0)
    worker.hand_over(job(2), 0.0)
    shares = worker.shares
    assert shares is not None
    assert shares.limited == 1
    worker.finish(limited)
    assert shares.limited == 0


# ── who is to blame ──


def blame(order: KillOrder | None, *keys: int) -> dict[int, Any]:
    worker = tenant()
    for key in keys:
        worker.hand_over(job(key), float(key))
    worker.kill_order = order
    return {lost.key: how for lost, how in losses(worker, DIED, 10.0)}


def test_a_death_under_one_alone_is_its_own() -> None:
    [how] = blame(None, 4).values()
    assert isinstance(how, Crashed)
    assert how.died.ran_s == 6.0


def test_a_death_under_several_makes_suspects_of_all() -> None:
    found = blame(None, 1, 2, 3)
    assert all(isinstance(how, Suspected) and how.others == 2 for how in found.values())
    assert [how.died.ran_s for how in found.values()] == [9.0, 8.0, 7.0]


def test_nobody_knows_whose_memory_it_was() -> None:
    order = KillOrder(2, None, "memory", (10, 20))
    assert all(isinstance(how, Suspected) for how in blame(order, 1, 2).values())
    assert isinstance(blame(order, 2)[2], OverMemory)


def test_a_timeout_is_the_doing_of_the_one_whose_time_was_over() -> None:
    found = blame(KillOrder(2, 1.5, "its time was over"), 1, 2, 3)
    assert isinstance(found[2], TimedOut)
    assert all(isinstance(found[key], Killed) and "shared its worker" in found[key].why for key in (1, 3))


@pytest.mark.parametrize("keys", [(1,), (1, 2)])
def test_at_the_end_of_the_pool_none_of_them_is_to_blame(keys: tuple[int, ...]) -> None:
    found = blame(KillOrder(None, None, "the pool is stopping"), *keys)
    assert all(isinstance(how, Killed) and how.why == "the pool is stopping" for how in found.values())


# ── one that is to run alone behind them ──


def test_a_job_that_waits_behind_them_closes_the_worker_and_is_its_head_once_they_have_ended() -> None:
    worker, one, alone = tenant(), job(1), Job(2, b"", "task", None, alone=True)
    worker.hand_over(one, 0.0)
    assert worker.has_room_for_tail(0.0)
    worker.hand_over(alone, 0.0)
    assert not worker.has_room_for_tail(0.0)
    assert not worker.has_room(job(3), 0.0)
    worker.finish(one)
    assert worker.shares is None
    assert worker.head is alone
    assert not worker.has_room(Job(4, b"", "task", None), 0.0)  # nothing waits behind what may be a killer


def test_one_that_waits_behind_them_is_taken_back_and_the_worker_is_open_again() -> None:
    worker, alone = tenant(), job(2, concurrency=1)
    worker.hand_over(job(1), 0.0)
    worker.hand_over(alone, 0.0)
    worker.channel.unclaimed.append(2)  # type: ignore[attr-defined]
    assert worker.take_back() == [alone]
    assert worker.has_room(job(3), 0.0)


def test_the_places_that_are_left_are_known_and_short_jobs_are_kept_at_hand() -> None:
    worker = tenant()
    worker.hand_over(job(1, concurrency=10), 0.0)
    shares = worker.shares
    assert shares is not None
    assert (shares.places(1, math.inf), shares.places(1, 4), shares.places(10, math.inf)) == (9, 4, 0)
    assert (shares.ahead(0.1), shares.ahead(0.02), shares.ahead(0.0001)) == (0, 2, 10)
    worker.hand_over(job(2, concurrency=0), 0.0)  # it closes the worker
    assert (shares.places(2, math.inf), shares.ahead(0.0001)) == (0, 0)
