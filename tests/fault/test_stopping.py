"""Running jobs that are told to stop: asked first, killed after their grace; and what a drain asks of all."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from support.fault_queue import QUEUE, message
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

TASKS = ("support.fault_tasks", "support.stop_tasks")


def cancel(queue: FaultQueue, job_id: str) -> None:
    """Cancel a job as a producer in any language does."""
    queue.client.set(keys.cancel(QUEUE, job_id), "1", px=60_000)


def test_a_job_that_listens_ends_by_itself_and_is_cancelled_whatever_it_returns(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=1, workers=2, modules=TASKS, cancel_grace_s=60)
    workers = set(daemon.worker_pids())
    returns, neighbour = queue.push("listen"), queue.push("hold", "gate")
    queue.run(returns)
    queue.run(neighbour)
    cancel(queue, returns)
    outcome = queue.ended(returns, status="cancelled", value=None, attempts=1, deliveries=1)
    assert outcome["error"]["type"] == "cancelled"
    assert "ended by itself" in outcome["error"]["message"]
    raises = queue.push("listen", "raise")
    queue.run(raises)
    cancel(queue, raises)
    queue.ended(raises, status="cancelled", attempts=1)  # and it is not run again, though it has retries left
    queue.open_gate("gate")
    queue.succeeded(neighbour, attempts=1, deliveries=1)
    assert set(daemon.worker_pids()) == workers, "nobody was killed"
    queue.assert_empty()


def test_a_job_that_does_not_listen_is_killed_after_its_grace_and_its_neighbour_is_not(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=1, workers=2, modules=TASKS, cancel_grace_s=0.3)
    job, neighbour = queue.push("deaf", "gate"), queue.push("hold", "gate")
    victim = queue.run(job)
    queue.run(neighbour)
    cancel(queue, job)
    queue.ended(job, status="cancelled", attempts=0, deliveries=1)
    daemon.wait_workers(2, without=victim.pid)
    queue.open_gate("gate")
    queue.succeeded(neighbour, attempts=1, deliveries=1)
    assert not daemon.log("a worker died under a job")


def test_a_job_whose_worker_dies_while_it_is_told_to_stop_is_not_run_again(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=1, workers=1, modules=TASKS, cancel_grace_s=60)
    job = queue.push("deaf", "gate")
    queue.run(job)
    cancel(queue, job)
    daemon.wait_log("a running job is asked to stop")
    [worker] = daemon.worker_pids()
    os.kill(worker, signal.SIGKILL)
    queue.ended(job, status="cancelled", deliveries=1)
    queue.assert_empty()


def test_what_waits_behind_a_job_in_its_worker_is_cancelled_at_once_and_never_runs(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon(lease_s=1, workers=1, modules=TASKS, cancel_grace_s=60)
    queue.warm_up("step")  # so that its jobs are buffered in the worker
    first, second, third = queue.push_together(message("step", "gate"), message("step"), message("step"))
    queue.run(first)
    cancel(queue, second)
    queue.ended(second, status="cancelled", attempts=0, deliveries=0, started_at=None)
    queue.open_gate("gate")
    queue.succeeded(first, attempts=1)
    queue.succeeded(third, attempts=1)
    assert not queue.runs(second)


def test_a_drain_tells_running_jobs_to_stop_and_takes_what_they_return(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=2, modules=TASKS, drain_s=60)
    returns, goes_on = queue.push("listen"), queue.push("listen", "retry")
    queue.run(returns)
    queue.run(goes_on)
    daemon.term()
    assert daemon.wait() == 0
    queue.succeeded(returns, value="half a result", attempts=1)
    [entry] = queue.entries()
    assert entry["id"] == goes_on.encode()
    assert entry["n"] == b"0 0 0 1", "handed back: it is no attempt"
    successor = start_daemon(workers=1, modules=TASKS, drain_s=60)
    queue.run(goes_on, 2)
    successor.term()
    assert successor.wait() == 0
    queue.succeeded(goes_on, value="half a result", attempts=1, deliveries=2)


def test_a_job_can_be_cancelled_during_a_drain(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(lease_s=1, workers=2, modules=TASKS, drain_s=60, cancel_grace_s=0.2)
    job, neighbour = queue.push("deaf", "gate"), queue.push("hold", "gate")
    queue.run(job)
    queue.run(neighbour)
    daemon.term()
    daemon.wait_log("draining")
    cancel(queue, job)
    queue.ended(job, status="cancelled", attempts=0, deliveries=1)
    assert daemon.alive
    queue.open_gate("gate")
    queue.succeeded(neighbour, attempts=1)
    assert daemon.wait() == 0
    queue.assert_empty()


def test_a_job_that_was_told_to_stop_when_its_daemon_died_ends_as_cancelled_with_the_next(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    first = start_daemon(lease_s=1, workers=1, modules=TASKS, cancel_grace_s=60)
    job = queue.push("deaf", "gate")
    queue.run(job)
    cancel(queue, job)
    first.wait_log("a running job is asked to stop")
    first.kill()
    start_daemon(lease_s=1, workers=1, modules=TASKS)
    queue.ended(job, status="cancelled")
    assert len(queue.runs(job)) == 1
    queue.assert_empty()


# ── coroutines, of which several run in one worker ──────────────────────────────────────────────────────────────────


def test_one_of_several_coroutines_is_cancelled_and_those_beside_it_never_notice(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=1, workers=1, modules=TASKS, cancel_grace_s=60)
    [worker] = daemon.worker_pids()
    jobs = [queue.push("linger_on", "gate") for _ in range(5)]
    for job in jobs:
        queue.run(job)
    cancel(queue, jobs[2])
    outcome = queue.ended(jobs.pop(2), status="cancelled", attempts=1, deliveries=1)
    assert len(queue.runs(outcome["id"], "tidy")) == 1
    queue.open_gate("gate")
    for job in jobs:
        queue.succeeded(job, value="through", attempts=1, deliveries=1)
    assert daemon.worker_pids() == [worker]


def test_a_coroutine_that_swallows_its_cancellation_is_killed_and_those_beside_it_run_again(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon(lease_s=1, workers=1, modules=TASKS, cancel_grace_s=0.3)
    stubborn, neighbour = queue.push("refuse_to_go", "never"), queue.push("linger_on", "gate")
    for job in (stubborn, neighbour):
        queue.run(job)
    cancel(queue, stubborn)
    queue.ended(stubborn, status="cancelled", attempts=0, deliveries=1)
    queue.run(neighbour, 2)
    queue.open_gate("gate")
    queue.succeeded(neighbour, value="through", attempts=1)


def test_coroutines_hear_of_a_drain_and_are_not_cancelled_by_it(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(lease_s=1, workers=1, modules=TASKS, drain_s=60, cancel_grace_s=60)
    listens, waits, unwanted = (
        queue.push("listen_on"),
        queue.push("linger_on", "gate"),
        queue.push("linger_on", "never"),
    )
    for job in (listens, waits, unwanted):
        queue.run(job)
    daemon.term()
    queue.succeeded(listens, value="half a result")
    cancel(queue, unwanted)
    queue.ended(unwanted, status="cancelled")
    assert not queue.runs(waits, "tidy")
    queue.open_gate("gate")
    queue.succeeded(waits, value="through", attempts=1, deliveries=1)
    assert daemon.wait() == 0
