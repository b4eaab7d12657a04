"""Limits of tasks with real daemons: how many at once, how often, and who goes on when one of them dies."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import QUEUE, FaultQueue, message
from support.waiting import eventually
from workd import Client
from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

LEASE_S = 2


class Start(Protocol):
    """Starts a daemon on the test's queue and waits until it is ready."""

    def __call__(self, **settings: object) -> DaemonProcess: ...


@pytest.fixture
def queue(valkey: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    """The default queue of an empty Valkey."""
    queue = FaultQueue(valkey, tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def start(queue: FaultQueue) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(**settings: object) -> DaemonProcess:
            chosen = {"modules": ("support.limit_tasks",), "lease_s": LEASE_S} | settings
            daemon = stack.enter_context(DaemonProcess(queue.server.url, queue.folder, **chosen))  # type: ignore[arg-type]
            return daemon.wait_ready()

        yield start


def lines(queue: FaultQueue) -> list[tuple[str, str, float]]:
    """Return what the runs wrote: the word, the job, the time."""
    path = queue.folder / "runs"
    rows = (line.split() for line in path.read_text().splitlines()) if path.exists() else ()
    return [(word, job_id, float(at_s)) for word, job_id, at_s in rows]


def started(queue: FaultQueue) -> list[str]:
    """Return the jobs that have started, in that order."""
    return [job_id for word, job_id, _ in lines(queue) if word == "start"]


def most_at_once(queue: FaultQueue, job_ids: list[str]) -> int:
    """Return how many of these jobs ran at once at the most."""
    running = most = 0
    for word, job_id, _ in lines(queue):
        if job_id in job_ids:
            running += 1 if word == "start" else -1
            most = max(most, running)
    return most


def waiting(queue: FaultQueue, task: str) -> int:
    """Return how many jobs of a task wait for its limits."""
    rows = queue.client.xpending_range(keys.stream(QUEUE), keys.GROUP, "-", "+", 10_000, keys.waiting(task))
    return len(rows)


def test_two_daemons_together_never_run_more_than_the_limit_and_no_fewer(queue: FaultQueue, start: Start) -> None:
    start(workers=4)
    start(workers=4)
    limited = queue.push_together(*[message("narrow", 0.01)] * 150)
    others = queue.push_together(*[message("wide", 0.01)] * 20)
    queue.all_ended(others)
    queue.all_ended(limited)
    assert most_at_once(queue, limited) == 3
    assert sorted(started(queue)) == sorted(limited + others)  # each once


def test_jobs_that_wait_hold_up_no_others_and_run_in_their_order(queue: FaultQueue, start: Start) -> None:
    start()
    jobs = queue.push_together(*[message("single", 0, "gate")] * 5)
    others = queue.push_together(*[message("wide")] * 5)
    queue.all_ended(others)
    eventually(lambda: waiting(queue, "single") == 4)
    queue.open_gate("gate")
    queue.all_ended(jobs)
    assert [job_id for job_id in started(queue) if job_id in jobs] == jobs
    outcomes = [queue.outcome(job_id) for job_id in jobs]
    assert {(outcome["deliveries"], outcome["attempts"]) for outcome in outcomes} == {(1, 1)}


def test_two_daemons_together_start_no_more_than_the_rate_allows(queue: FaultQueue, start: Start) -> None:
    start()
    start()
    before_s = time.time()
    jobs = queue.push_together(*[message("paced")] * 44)
    queue.all_ended(jobs)
    starts = sorted(at_s for word, _, at_s in lines(queue) if word == "start")
    for number, at_s in enumerate(starts):
        assert at_s - before_s >= (number + 1 - 4) / 40 - 0.001  # times are kept in ms


def test_when_the_daemon_with_all_permits_is_killed_others_go_on_within_a_lease(
    queue: FaultQueue, start: Start
) -> None:
    first = start(workers=4)
    held = queue.push_together(*[message("narrow", 0, "gate")] * 3)
    eventually(lambda: len(started(queue)) == 3)
    start(workers=4)
    rest = queue.push_together(*[message("narrow")] * 6)
    eventually(lambda: waiting(queue, "narrow") == 6)
    queue.open_gate("gate-2")  # of what is run a second time
    first.kill()
    killed_at_s = time.time()
    queue.all_ended(held + rest, timeout_s=LEASE_S + 10)
    first_start_s = next(at_s for word, job_id, at_s in lines(queue) if word == "start" and at_s > killed_at_s)
    assert first_start_s - killed_at_s < LEASE_S + 2
    assert eventually(lambda: not queue.client.exists(keys.permits(QUEUE, "narrow")))


def test_a_daemon_that_drains_leaves_its_permits_to_the_others(queue: FaultQueue, start: Start) -> None:
    first = start(workers=1)
    [held] = queue.push_together(message("single", 0, "gate"))
    eventually(lambda: started(queue) == [held])
    start(workers=1)
    [next_one] = queue.push_together(message("single"))
    eventually(lambda: waiting(queue, "single") == 1)
    first.term()
    first.wait_log("draining")
    queue.open_gate("gate")
    queue.all_ended([held, next_one])
    assert first.wait() == 0
    assert started(queue) == [held, next_one]


def test_a_daemon_that_drains_leaves_no_permit_behind(queue: FaultQueue, start: Start) -> None:
    daemon = start()
    jobs = queue.push_together(*[message("narrow")] * 20, *[message("single")] * 3)
    queue.all_ended(jobs)
    [held] = queue.push_together(message("single", 0, "gate"))
    eventually(lambda: held in started(queue))
    daemon.term()
    daemon.wait_log("draining")
    queue.open_gate("gate")
    assert daemon.wait() == 0
    queue.succeeded(held)
    assert not queue.client.exists(keys.permits(QUEUE, "narrow"), keys.permits(QUEUE, "single"))


def test_what_waits_survives_all_daemons(queue: FaultQueue, start: Start) -> None:
    first = start()
    jobs = queue.push_together(*[message("single", 0, "gate")] * 4)
    eventually(lambda: waiting(queue, "single") == 3)
    first.kill()
    queue.open_gate("gate")
    start()
    queue.all_ended(jobs)


def test_a_job_that_is_cancelled_or_expires_while_it_waits_never_starts(queue: FaultQueue, start: Start) -> None:
    start()
    expires_at_s = time.time() + 5.0  # all have to be waiting by then
    held, cancelled, last = queue.push_together(message("single", 0, "gate"), message("single"), message("single"))
    late = [queue.push("single", expires_at=expires_at_s) for _ in range(20)]
    eventually(lambda: waiting(queue, "single") == 22)
    queue.client.set(keys.cancel(QUEUE, cancelled), "1", ex=60)
    eventually(lambda: time.time() > expires_at_s)
    queue.open_gate("gate")
    queue.ended(cancelled, status="cancelled")
    queue.succeeded(last)
    for job_id in late:
        queue.ended(job_id, status="expired")
    assert started(queue) == [held, last]


def test_a_job_that_waits_can_be_cancelled_at_once(queue: FaultQueue, start: Start) -> None:
    start()
    held, cancelled, last = queue.push_together(message("single", 0, "gate"), *[message("single", reply_to="test")] * 2)
    eventually(lambda: waiting(queue, "single") == 2)
    with Client(queue.server.url) as client:
        assert client.cancel(cancelled) == "cancelled"
    queue.ended(cancelled, status="cancelled")
    assert waiting(queue, "single") == 1
    assert queue.outcomes(held) == []
    queue.open_gate("gate")
    queue.all_ended([held, last])
    assert started(queue) == [held, last]


def test_what_has_a_permit_and_finds_no_worker_is_run_by_another_daemon_uncharged(
    queue: FaultQueue, start: Start
) -> None:
    start(workers=1)
    queue.warm_up("wide")  # so that it takes many at once
    queue.warm_up("narrow")
    slow, *limited = queue.push_together(message("wide", 0, "gate"), *[message("narrow")] * 6)
    eventually(lambda: slow in started(queue))
    start(workers=1)
    outcomes = queue.all_ended(limited)
    assert {outcome["deliveries"] for outcome in outcomes.values()} == {1}
    assert queue.outcomes(slow) == []
    queue.open_gate("gate")
    queue.succeeded(slow)


def test_a_stranger_key_in_the_place_of_the_permits_holds_up_that_task_alone(queue: FaultQueue, start: Start) -> None:
    queue.client.set(keys.permits(QUEUE, "single"), "somebody else's")
    daemon = start()
    [job] = queue.push_together(message("single"))
    daemon.wait_log("a key of a task's limits has the wrong type; its jobs wait")
    queue.succeeded(queue.push("wide"))
    assert queue.client.get(keys.permits(QUEUE, "single")) == b"somebody else's"
    queue.client.delete(keys.permits(QUEUE, "single"))
    queue.succeeded(job)


def test_thousands_that_wait_cost_a_few_scripts_each(queue: FaultQueue, start: Start) -> None:
    count = 5_000
    queue.push_together(*[message("short")] * count)
    start()
    eventually(lambda: queue.client.xlen(keys.stream(QUEUE)) == 0, timeout_s=60)
    stats = queue.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] <= 3 * count
