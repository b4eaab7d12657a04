"""Timeouts always fire: whatever the task does, its worker is killed from outside, and only that one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.daemons import is_running
from support.fault_queue import message
from support.waiting import eventually

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

TIMEOUT_S = 0.5
LATE_S = 1.0  # how much later the kill may be, on a busy machine


@pytest.mark.parametrize("how", ["sleep", "gil", "stopped", "spin"])
def test_a_job_over_its_time_is_killed_retried_and_dead_at_last(
    queue: FaultQueue, start_daemon: StartDaemon, how: str
) -> None:
    start_daemon()
    neighbour = queue.push("hold", "gate")
    kept = queue.run(neighbour)
    job = queue.push("hang_twice", how, timeout=TIMEOUT_S)
    letter = queue.dead_letter(job)
    assert letter["reason"] == b"timeout"
    assert (letter["attempts"], letter["deliveries"]) == (b"2", b"2")
    assert json.loads(letter["error"])["type"] == "JobTimeout"
    outcome = queue.ended(job, status="dead", attempts=2, deliveries=2)
    runs = queue.runs(job)
    assert [run.attempt for run in runs] == [1, 2]
    assert not any(is_running(run.pid) for run in runs)
    assert TIMEOUT_S <= outcome["ended_at"] - runs[1].at < TIMEOUT_S + LATE_S
    queue.open_gate("gate")
    queue.succeeded(neighbour, attempts=1, deliveries=1, value=kept.pid)
    queue.assert_empty()


def test_the_daemons_own_timeout_holds_where_nobody_set_one(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    start_daemon(timeout_s=TIMEOUT_S)
    job = queue.push("hang", "gil")
    assert queue.dead_letter(job)["reason"] == b"timeout"


def test_a_child_process_of_the_task_dies_with_it(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    start_daemon()
    job = queue.push("hang", "child", timeout=TIMEOUT_S)
    (child,) = [run.child for run in eventually(lambda: queue.runs(job, "child")) or []]
    assert child is not None
    assert queue.dead_letter(job)["reason"] == b"timeout"
    eventually(lambda: not is_running(child))


def test_a_job_that_waits_behind_another_has_its_whole_time(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    start_daemon(workers=1)
    jobs = queue.push_together(*[message("soak", 0.3, number, timeout=TIMEOUT_S) for number in range(4)])
    for job in jobs:
        queue.succeeded(job, attempts=1, deliveries=1)


def test_a_timeout_charges_nothing_to_what_was_buffered_behind(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(workers=1)
    queue.warm_up("step")
    late, *behind = queue.push_together(message("step", "no gate", timeout=3.0), *[message("step")] * 20)
    queue.run(late)
    eventually(lambda: len(queue.pending(daemon.daemon_id)) == 21)
    assert queue.dead_letter(late)["reason"] == b"timeout"
    for job in behind:
        queue.succeeded(job, attempts=1, deliveries=1)
        assert len(queue.runs(job)) == 1
