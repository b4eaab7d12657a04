"""A worker that leaves jobs unclaimed is shunned for a while, longer each time."""

from types import SimpleNamespace
from typing import Any

from workd.pool.slot import MAX_SHUN_S, Job, Slot, Tenant, TenantState


def tenant() -> Tenant:
    parts: Any = SimpleNamespace(send=lambda job: True, take_back=list)
    return Tenant(Slot(0), 1, -1, parts, parts, boot_deadline=0.0, state=TenantState.READY)


def test_each_strike_in_a_row_shuns_longer_and_the_series_tells_how_long_it_has_lasted() -> None:
    worker, now, job = tenant(), 100.0, Job(1, b"", "task", None)
    pauses, lasted_s = [], 0.0
    for _ in range(9):
        lasted_s = worker.strike(now)
        assert not worker.has_room(job, now)
        pauses.append(worker.shunned_until - now)
        now = worker.shunned_until + 0.01
        assert worker.has_room(job, now)
    assert pauses == sorted(pauses)
    assert abs(pauses[-1] - MAX_SHUN_S) < 1e-6
    assert abs(lasted_s - sum(pauses[:-1]) - 8 * 0.01) < 1e-6


def test_a_strike_long_ago_is_forgotten() -> None:
    worker = tenant()
    worker.strike(100.0)
    assert worker.strike(200.0) == 0.0
    assert worker.strikes == 1


def test_a_result_ends_the_series() -> None:
    worker, job = tenant(), Job(1, b"", "task", None)
    worker.strike(100.0)
    worker.hand_over(job, 101.0)
    worker.finish(job)
    assert worker.strikes == 0


def test_a_worker_at_the_end_of_its_budget_is_of_use_only_while_it_has_a_job() -> None:
    worker, job = tenant(), Job(1, b"", "task", None)
    worker.budget = 1
    assert worker.is_of_use
    assert worker.is_free(0.0)
    worker.hand_over(job, 0.0)
    assert worker.is_of_use
    worker.finish(job)
    assert (worker.is_of_use, worker.is_free(0.0)) == (False, False)
