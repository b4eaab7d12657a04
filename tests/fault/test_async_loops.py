"""What coroutines can do to the loop that they share, and what becomes of their neighbours and of the next jobs."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from support.fault_queue import QUEUE, message
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

MODULES = ("support.fault_tasks", "support.async_tasks")


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> DaemonProcess:
    """A daemon with one worker, so that all share it."""
    return start_daemon(modules=MODULES, workers=1)


def value(queue: FaultQueue, how: str) -> Any:
    """Run `reach` and return its value."""
    return queue.succeeded(queue.push("reach", how), deliveries=1)["value"]


def error_type(queue: FaultQueue, job: str) -> str:
    """Return the type of the error of a job that is dead."""
    letter = queue.dead_letter(job)
    assert letter["reason"] in (b"failed", b"timeout")
    assert letter["deliveries"] == b"1"
    return str(json.loads(letter["error"])["type"])


@pytest.mark.usefixtures("daemon")
def test_the_loop_lives_as_long_as_the_worker_and_plain_jobs_between_do_not_end_it(queue: FaultQueue) -> None:
    assert value(queue, "loop") == "True"
    queue.succeeded(queue.push("quick", 3), value=3)
    assert value(queue, "loop") == "True"
    assert len({run.pid for run in queue.runs()}) == 1


@pytest.mark.usefixtures("daemon")
def test_what_a_job_leaves_in_the_loop_is_cancelled_at_its_end_unless_it_was_made_outside_of_it(
    queue: FaultQueue,
) -> None:
    value(queue, "leave")
    value(queue, "keep")
    assert value(queue, "look") == "cancelled"
    assert value(queue, "look at kept") == "alive"


@pytest.mark.usefixtures("daemon")
def test_the_context_of_a_job_holds_in_the_tasks_that_it_makes(queue: FaultQueue) -> None:
    for how in ("where", "thread"):
        job = queue.push("reach", how)
        queue.succeeded(job, value=job)


@pytest.mark.usefixtures("daemon")
def test_coroutines_can_run_programs(queue: FaultQueue) -> None:
    assert value(queue, "child process") == "from a child, 0"


@pytest.mark.parametrize(
    ("how", "name"), [("exit", "SystemExit"), ("child exits", "SystemExit"), ("cancel all", "CancelledError")]
)
def test_leaving_in_a_coroutine_ends_that_job_and_not_its_worker(
    queue: FaultQueue, daemon: DaemonProcess, how: str, name: str
) -> None:
    waiting = queue.push("linger", "gate")
    pid = queue.run(waiting).pid
    job = queue.push("reach", how)
    assert error_type(queue, job).rpartition(".")[2] == name
    assert daemon.worker_pids() == [pid]
    if how != "cancel all":
        queue.open_gate("gate")
        queue.succeeded(waiting, value=pid, deliveries=1)
    else:  # that is what it asked for
        assert error_type(queue, waiting).rpartition(".")[2] == "CancelledError"
    queue.succeeded(queue.push("quick", 3), value=3)


@pytest.mark.usefixtures("daemon")
def test_a_child_that_comes_back_from_a_fork_serves_nobody(queue: FaultQueue) -> None:
    waiting = queue.push("linger", "gate")
    pid = queue.run(waiting).pid
    assert value(queue, "fork") == "parent"
    queue.open_gate("gate")
    queue.succeeded(waiting, value=pid, deliveries=1)


@pytest.mark.usefixtures("daemon")
def test_a_soft_timeout_ends_one_of_several_and_the_others_go_on(queue: FaultQueue) -> None:
    waiting = queue.push("linger", "gate")
    pid = queue.run(waiting).pid
    job = queue.push("heed")
    assert error_type(queue, job) == "SoftTimeout"
    assert len(queue.runs(job, event="soft")) == 1
    queue.open_gate("gate")
    queue.succeeded(waiting, value=pid, deliveries=1)


def test_a_worker_that_is_replaced_ends_what_it_runs_first(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    """The loop is closed when the worker leaves: what was kept in it is cancelled, and nothing holds it up."""
    daemon = start_daemon(modules=MODULES, workers=1)
    value(queue, "keep")
    waiting = queue.push("linger", "gate")
    queue.run(waiting)
    daemon.term()
    daemon.wait_log("draining")
    queue.open_gate("gate")
    assert daemon.wait() == 0
    queue.succeeded(waiting, deliveries=1)


def test_jobs_that_a_blocked_loop_does_not_claim_go_to_another_worker(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon(modules=MODULES, workers=2)
    blocked = queue.push("overstay", "block", timeout=600)
    pid = queue.run(blocked).pid
    jobs = queue.push_together(*[message("nap", 0)] * 40)
    outcomes = queue.all_ended(jobs)
    assert {outcome["deliveries"] for outcome in outcomes.values()} == {1}
    assert pid not in {run.pid for run in queue.runs() if run.id != blocked}


@pytest.mark.usefixtures("daemon")
def test_plain_and_coroutine_jobs_in_any_order_all_end_once(queue: FaultQueue) -> None:
    kinds = [message("nap", 0), message("quick", 1), message("solo"), message("linger_two", "gate"), message("step")]
    queue.open_gate("gate")
    jobs = queue.push_together(*kinds * 20)
    outcomes = queue.all_ended(jobs)
    assert {(outcome["status"], outcome["deliveries"]) for outcome in outcomes.values()} == {("succeeded", 1)}
    queue.assert_empty()
    eventually(lambda: len(queue.runs()) == 100)


def test_workers_are_replaced_under_a_stream_of_coroutines_and_nothing_runs_twice(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon(modules=MODULES, workers=2, worker_max_jobs=7)
    jobs = queue.push_together(*[message("nap", 0.01)] * 100)
    outcomes = queue.all_ended(jobs)
    assert {(outcome["status"], outcome["deliveries"]) for outcome in outcomes.values()} == {("succeeded", 1)}
    assert len(queue.runs()) == 100
    assert len({run.pid for run in queue.runs()}) >= 100 // 7


def test_a_worker_that_is_replaced_under_a_long_coroutine_holds_up_nobody(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(modules=MODULES, workers=1, worker_max_jobs=2)
    first = queue.push("linger", "first gate")
    old = queue.run(first).pid
    queue.all_ended(queue.push_together(*[message("nap", 0)] * 5))
    second = queue.push(
        "linger", "second gate"
    )  # it waits for the first one to have left, if it is to be replaced, too
    queue.run(second)
    naps = queue.push_together(*[message("nap", 0)] * 5)
    queue.open_gate("first gate")
    queue.succeeded(first, value=old, attempts=1, deliveries=1)
    queue.all_ended(naps)
    queue.open_gate("second gate")
    queue.succeeded(second, attempts=1, deliveries=1)
    daemon.wait_workers(1, without=old)


@pytest.mark.parametrize("end", ["kill", "cancel", "drain"])
def test_a_coroutine_in_a_worker_that_has_been_replaced_ends_like_any_other(
    queue: FaultQueue, start_daemon: StartDaemon, end: str
) -> None:
    daemon = start_daemon(modules=MODULES, workers=1, worker_max_jobs=2, lease_s=1, drain_s=0.5, max_crashes=1)
    job = queue.push("linger", "gate")
    old = queue.run(job).pid
    queue.all_ended(queue.push_together(*[message("nap", 0)] * 3))
    if end == "kill":
        os.kill(old, signal.SIGKILL)
        queue.ended(job, status="dead", attempts=0, deliveries=1)
        queue.succeeded(queue.push("nap", 0), deliveries=1)
    elif end == "cancel":
        queue.client.set(keys.cancel(QUEUE, job), "1")
        queue.ended(job, status="cancelled", attempts=1, deliveries=1)
        daemon.wait_workers(1, without=old)
    else:
        daemon.term()
        assert daemon.wait() == 0
        [entry] = queue.entries()
        assert entry["n"].split() == [b"0", b"0", b"0", b"1"], "handed back, charged nothing"


def test_of_several_nobody_knows_whose_memory_it_was_and_alone_it_is_the_hogs(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(modules=MODULES, workers=1, memory_limit_bytes="200M", max_crashes=1)
    others = [queue.push("linger", "gate") for _ in range(3)]
    for one in others:
        queue.run(one)
    hog = queue.push("hog", 300 * 2**20)
    daemon.wait_log("a worker died under several jobs; this one runs alone next", count=4)
    queue.open_gate("gate")
    letter = queue.dead_letter(hog)
    assert (letter["reason"], letter["deliveries"]) == (b"crashed", b"2")
    assert json.loads(letter["error"])["type"] == "MemoryLimit"
    for one in others:
        queue.succeeded(one, attempts=1)
    assert len(queue.dead_letters()) == 1


def test_another_daemon_runs_what_a_killed_one_had_in_one_worker(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    first = start_daemon(modules=MODULES, workers=1, lease_s=1)
    jobs = [queue.push("linger", "gate") for _ in range(5)]
    for one in jobs:
        queue.run(one)
    first.kill()
    queue.open_gate("gate")
    start_daemon(modules=MODULES, workers=1, lease_s=1)
    for one in jobs:
        queue.succeeded(one, attempts=1, deliveries=2)
    queue.assert_empty()


def test_a_daemon_that_lost_its_lease_records_nothing_of_what_its_coroutines_still_do(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    first = start_daemon(modules=MODULES, workers=1, lease_s=1)
    jobs = [queue.push("linger", "gate") for _ in range(3)]
    for one in jobs:
        queue.run(one)
    first.pause()
    second = start_daemon(modules=MODULES, workers=1, lease_s=1)
    eventually(lambda: any(run.delivery == 2 for run in queue.runs()), timeout_s=40)
    first.resume()
    first.wait_log("the lease was lost; its jobs are another daemon's now")
    queue.open_gate("gate")
    outcomes = queue.all_ended(jobs)
    assert {outcome["daemon"] for outcome in outcomes.values()} == {second.daemon_id}
    queue.assert_empty()


@pytest.mark.usefixtures("daemon")
def test_a_worker_with_one_long_coroutine_still_fetches_for_its_free_places(queue: FaultQueue) -> None:
    queue.all_ended(queue.push_together(*[message("at_once")] * 300))  # such jobs take no time, the daemon learns
    waiting = queue.push("linger", "gate")
    pid = queue.run(waiting).pid
    for _ in range(3):
        queue.succeeded(queue.push("nap", 0), deliveries=1)
    queue.open_gate("gate")
    queue.succeeded(waiting, value=pid, deliveries=1)
