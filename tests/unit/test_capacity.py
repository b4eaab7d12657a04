"""How many workers the load asks for: a table of moments, and a machine that is simulated second by second."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from workd.capacity import QUIET_S, WAIT_S, WORKER_BYTES, Decision, Look, decide
from workd.pressure import Pressure
from workd.sizes import Bounds

PLENTY = Pressure()
FULL = {
    "workers": 4,
    "ready": 4,
    "busy": 4,
    "waiting": 100,
    "oldest_s": WAIT_S,
    "peak": 4,
    "settled_s": 1.0,
    "cores": 8,
}
IDLE = FULL | {"busy": 0, "waiting": 0, "oldest_s": 0.0, "peak": 0, "settled_s": QUIET_S}


def after(seen: dict[str, Any], pressure: Pressure = PLENTY, least: int = 1, most: int = 100, **more: Any) -> Decision:
    return decide(Look(**(seen | more)), Bounds(least, most), pressure)


# ── growing ──


def test_it_grows_by_half_when_all_are_busy_and_jobs_wait() -> None:
    assert after(FULL) == Decision(6)
    assert after(FULL, workers=1, ready=1, busy=1) == Decision(2)


def test_it_grows_by_no_more_than_there_are_jobs_that_wait() -> None:
    assert after(FULL, waiting=1) == Decision(5)


@pytest.mark.parametrize(
    "more",
    [
        {"waiting": 0},
        {"busy": 3},
        {"oldest_s": WAIT_S / 2},
        {"ready": 3},  # one is booting, and will take some of them
    ],
)
def test_it_does_not_grow_without_need(more: dict[str, Any]) -> None:
    assert after(FULL, **more) == Decision(4)


def test_it_stays_within_its_bounds() -> None:
    assert after(FULL, most=5) == Decision(5)
    assert after(FULL, most=4) == Decision(4)
    assert after(FULL, most=3) == Decision(3), "the settings were changed"
    assert after(FULL, least=9) == Decision(9)


def test_the_first_job_brings_a_worker_at_once() -> None:
    none = FULL | {"workers": 0, "ready": 0, "busy": 0, "peak": 0}
    assert after(none, waiting=1, oldest_s=0.0, least=0) == Decision(1)
    assert after(none, waiting=0, least=0) == Decision(0)


# ── what is short ──


def test_short_memory_stops_it_and_says_so() -> None:
    worker_bytes = 2 * WORKER_BYTES
    machine = Pressure(free_bytes=100 * worker_bytes, total_bytes=100 * worker_bytes)
    assert after(FULL, machine, worker_bytes=worker_bytes) == Decision(6)
    for_one = Pressure(free_bytes=11 * worker_bytes, total_bytes=100 * worker_bytes)
    assert after(FULL, for_one, worker_bytes=worker_bytes) == Decision(5, "memory")
    for_none = Pressure(free_bytes=10 * worker_bytes, total_bytes=100 * worker_bytes)
    assert after(FULL, for_none, worker_bytes=worker_bytes) == Decision(4, "memory")
    assert after(FULL, Pressure(memory_stall=0.5)) == Decision(4, "memory")


def test_busy_cores_stop_it_at_a_worker_for_each() -> None:
    busy = Pressure(cpu_stall=0.9)
    assert after(FULL, busy) == Decision(6), "there are eight cores"
    assert after(FULL, busy, cores=5) == Decision(5, "cores")
    assert after(FULL, busy, cores=2) == Decision(4, "cores"), "what is there stays"
    assert after(FULL, Pressure(cpu_stall=0.1), cores=2) == Decision(6)


def test_without_any_worker_nothing_is_too_short_for_the_first() -> None:
    none = FULL | {"workers": 0, "ready": 0, "busy": 0, "peak": 0}
    assert after(none, Pressure(0, 100, 1.0, 1.0), least=0).workers == 1


# ── shrinking ──


def test_it_shrinks_after_a_quiet_time_by_half_at_the_most() -> None:
    assert after(IDLE) == Decision(2)
    assert after(IDLE, workers=2, ready=2) == Decision(1)
    assert after(IDLE, workers=1, ready=1) == Decision(1)
    assert after(IDLE, workers=1, ready=1, least=0) == Decision(0)


def test_what_was_busy_at_once_stays() -> None:
    assert after(IDLE, peak=3) == Decision(3)
    assert after(IDLE, peak=4) == Decision(4)


def test_it_does_not_shrink_before_the_quiet_time_is_over() -> None:
    assert after(IDLE, settled_s=QUIET_S - 1) == Decision(4)
    assert after(IDLE, ready=3) == Decision(4), "a worker is missing: that is no time to judge"


# ── no swinging ──


ANY = Bounds(0, 32)


def changes_over(load: Any, seconds: int) -> list[int]:
    """Let it decide twice a second while `load(second)` jobs run or wait; return each number that it came to."""
    workers, settled_at, waiting_since = 1, 0.0, None
    busy_lately: deque[tuple[float, int]] = deque()
    numbers = [workers]
    for tick in range(2 * seconds):
        now = tick / 2
        jobs = load(now)
        busy, waiting = min(jobs, workers), max(0, jobs - workers)
        waiting_since = (now if waiting_since is None else waiting_since) if waiting else None
        busy_lately.append((now, busy))
        while busy_lately[0][0] < now - QUIET_S:
            busy_lately.popleft()
        peak = max(count for _, count in busy_lately)
        oldest_s = 0.0 if waiting_since is None else now - waiting_since
        look = Look(workers, workers, busy, waiting, oldest_s, peak, now - settled_at, cores=8)
        decision = decide(look, ANY, PLENTY)
        if decision.workers != workers:
            workers, settled_at = decision.workers, now
            busy_lately.clear()
            numbers.append(workers)
    return numbers


def test_a_steady_load_is_met_and_then_nothing_changes() -> None:
    assert changes_over(lambda _: 12, 600)[-1] == 12
    assert len(changes_over(lambda _: 12, 600)) == len(changes_over(lambda _: 12, 60))


def test_a_load_that_comes_and_goes_every_few_seconds_does_not_make_it_swing() -> None:
    numbers = changes_over(lambda now: 10 if int(now) % 10 < 5 else 0, 600)
    assert numbers == sorted(numbers), "it only ever grew"


def test_a_burst_is_met_and_forgotten() -> None:
    numbers = changes_over(lambda now: 20 if now < 60 else 0, 600)
    assert max(numbers) == 20
    assert numbers[-1] == 0
