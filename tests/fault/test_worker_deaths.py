"""One crash costs one task: every way in which a worker can die under a job."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from support.fault_queue import message
from support.waiting import eventually

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

REDELIVERY_S = 1.0  # the promise where the daemon saw the crash


def test_a_worker_killed_in_mid_job_costs_that_job_one_more_run_and_its_neighbour_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    victim, neighbour = queue.push("hold", "gate"), queue.push("hold", "gate")
    killed, kept = queue.run(victim), queue.run(neighbour)

    os.kill(killed.pid, signal.SIGKILL)

    again = queue.run(victim, number=2)
    assert again.delivery == 2
    assert again.pid not in (killed.pid, kept.pid)
    died = daemon.wait_log("a worker died under a job")
    assert died["worker_pid"] == killed.pid
    assert died["job_id"] == victim
    assert set(daemon.wait_workers(2, without=killed.pid)) == {again.pid, kept.pid}
    queue.open_gate("gate")
    queue.succeeded(victim, attempts=1, deliveries=2, value=again.pid)
    queue.succeeded(neighbour, attempts=1, deliveries=1, value=kept.pid)
    assert len(queue.runs(victim)) == 2
    assert len(queue.runs(neighbour)) == 1
    queue.assert_empty()


def test_a_job_whose_worker_was_killed_runs_again_within_a_second(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    start_daemon()
    job = queue.push("die", "sigkill", 1)
    first, second = queue.run(job), queue.run(job, number=2)
    assert second.at - first.at < REDELIVERY_S


@pytest.mark.parametrize("how", ["sigkill", "exit", "segfault", "abort", "close_fds", "rubbish"])
def test_however_a_worker_dies_its_job_alone_runs_twice(queue: FaultQueue, start_daemon: StartDaemon, how: str) -> None:
    daemon = start_daemon()
    neighbour = queue.push("hold", "gate")
    kept = queue.run(neighbour)
    job = queue.push("die", how, 1)
    queue.succeeded(job, attempts=1, deliveries=2)
    assert [run.delivery for run in queue.runs(job)] == [1, 2]
    assert kept.pid in daemon.wait_workers(2)
    queue.open_gate("gate")
    queue.succeeded(neighbour, deliveries=1)
    assert len(queue.runs(neighbour)) == 1


@pytest.mark.parametrize(
    ("how", "told"), [("sigkill", "was killed by SIGKILL"), ("exit", "exited with code 7"), ("segfault", "SIGSEGV")]
)
def test_a_job_that_kills_its_worker_each_time_is_dead_after_exactly_the_third_run(
    queue: FaultQueue, start_daemon: StartDaemon, how: str, told: str
) -> None:
    start_daemon()
    job = queue.push("die", how, max_retries=50)
    letter = queue.dead_letter(job)
    assert letter["reason"] == b"crashed"
    assert letter["m"] == message("die", how, max_retries=50)
    assert (letter["attempts"], letter["deliveries"]) == (b"0", b"3")
    error = json.loads(letter["error"])
    assert told in error["message"]
    assert "peak memory" in error["message"]
    queue.ended(job, status="dead", attempts=0, deliveries=3)
    assert [run.delivery for run in queue.runs(job)] == [1, 2, 3]
    queue.assert_empty()


def test_max_crashes_is_the_number_of_runs(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    start_daemon(max_crashes=1, workers=1)
    job = queue.push("die", "sigkill")
    assert queue.dead_letter(job)["deliveries"] == b"1"
    assert len(queue.runs(job)) == 1


def test_what_was_only_buffered_behind_a_crashing_job_is_charged_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=1)
    queue.warm_up("step")
    killer, *buffered = queue.push_together(message("step", "gate", True), *[message("step")] * 20)
    crashed = queue.run(killer)
    eventually(lambda: len(queue.pending(daemon.daemon_id)) == 21)
    queue.open_gate("gate")

    queue.succeeded(killer, attempts=1, deliveries=2)
    for job in buffered:
        queue.succeeded(job, attempts=1, deliveries=1)
        assert [run.delivery for run in queue.runs(job)] == [1]
        assert queue.runs(job)[0].pid != crashed.pid
    queue.assert_empty()


def test_an_idle_worker_that_is_killed_is_replaced_and_nothing_else_happens(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    before = daemon.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(pids := daemon.worker_pids()) == 2 and not set(pids) & set(before))
    jobs = [queue.push("quick", number) for number in range(10)]
    for number, job in enumerate(jobs):
        queue.succeeded(job, value=number, deliveries=1)


def test_a_crashing_job_does_not_keep_others_from_being_served(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    start_daemon()
    killers = [queue.push("die", "sigkill") for _ in range(3)]
    others = [queue.push("quick", number) for number in range(50)]
    for number, job in enumerate(others):
        queue.succeeded(job, value=number, deliveries=1)
    assert {queue.dead_letter(job)["deliveries"] for job in killers} == {b"3"}
