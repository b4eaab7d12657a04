"""No worker is idle while a job waits that it could run, in this daemon or in another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.fault_queue import message

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue


def test_one_free_worker_among_many_is_enough_for_the_next_job_to_be_fetched(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon(workers=8)
    held = [queue.push("hold", "gate") for _ in range(7)]
    for job in held:
        queue.run(job)
    for number in range(3):  # one at a time: each finds seven busy workers and a free one
        queue.succeeded(queue.push("quick", number), value=number)
    assert queue.outcomes(held[0]) == []
    queue.open_gate("gate")
    queue.all_ended(held)


def test_what_was_fetched_ahead_of_slow_jobs_is_run_by_a_daemon_that_has_a_free_worker(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon()
    queue.warm_up("step")  # so that the first daemon takes many of these at once
    jobs = queue.push_together(*[message("step", "gate")] * 2, *[message("step")] * 20)
    for job in jobs[:2]:
        queue.run(job)
    start_daemon()
    queue.all_ended(jobs[2:], timeout_s=5)
    assert queue.outcomes(jobs[0]) == []
    queue.open_gate("gate")
    queue.all_ended(jobs[:2])
