"""Several coroutines in one worker: what a death or a timeout of one of them costs the others."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.fault_queue import message
from support.waiting import eventually
from workd import faultpoints

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

MODULES = ("support.fault_tasks", "support.async_tasks")


@pytest.fixture
def start_async(start_daemon: StartDaemon) -> Any:
    """Start a daemon that has the coroutines, with one worker unless the test wants more."""

    def start(**settings: Any) -> DaemonProcess:
        return start_daemon(**{"modules": MODULES, "workers": 1, **settings})

    return start


def together(queue: FaultQueue, *messages: bytes) -> list[str]:
    """Push jobs and wait until all of them run."""
    jobs = queue.push_together(*messages)
    for job in jobs:
        queue.run(job)
    return jobs


def test_a_worker_killed_under_five_coroutines_charges_none_of_them_and_runs_each_alone_next(
    queue: FaultQueue, start_async: Any
) -> None:
    daemon = start_async(max_crashes=1)
    jobs = together(queue, *[message("linger", "gate")] * 5)
    [pid] = {queue.run(job).pid for job in jobs}

    os.kill(pid, signal.SIGKILL)

    again = eventually(lambda: [run for run in queue.runs() if run.delivery == 2])
    assert len(again) == 1
    assert len(daemon.log("a worker died under several jobs; this one runs alone next")) == 5
    queue.open_gate("gate")
    for job in jobs:
        queue.succeeded(job, attempts=1, deliveries=2)
    assert_never_together(queue, delivery=2)
    assert not queue.dead_letters()
    queue.assert_empty()


def assert_never_together(queue: FaultQueue, delivery: int) -> None:
    """See in the journal that runs of this delivery came one after the other."""
    spans = sorted(
        [(run.at, 1) for run in queue.runs() if run.delivery == delivery]
        + [(run.at, -1) for run in queue.runs(event="end") if run.delivery == delivery]
    )
    running = 0
    for _, change in spans:
        running += change
        assert 0 <= running <= 1, f"two at once: {spans}"


@pytest.mark.parametrize("how", ["exit", "sigkill", "segfault", "close_fds"])
def test_of_five_one_that_kills_its_worker_is_dead_and_no_innocent_is(
    queue: FaultQueue, start_async: Any, how: str
) -> None:
    daemon = start_async(max_crashes=1)
    killer, *innocent = together(
        queue, message("perish", how, "trigger", max_retries=9), *[message("linger", "gate")] * 4
    )
    queue.open_gate("trigger")
    daemon.wait_log("a worker died under several jobs; this one runs alone next", count=5)
    queue.open_gate("gate")
    letter = queue.dead_letter(killer)
    assert (letter["reason"], letter["attempts"], letter["deliveries"]) == (b"crashed", b"0", b"2")
    for job in innocent:
        queue.ended(job, status="succeeded", attempts=1)
    assert len(queue.dead_letters()) == 1
    queue.assert_empty()


def test_a_killer_that_is_alone_in_its_worker_is_charged_at_once(queue: FaultQueue, start_async: Any) -> None:
    start_async(max_crashes=1)
    queue.open_gate("trigger")
    job = queue.push("perish", "exit", "trigger")
    assert queue.dead_letter(job)["deliveries"] == b"1"


def test_of_five_the_one_that_times_out_is_charged_and_the_others_run_again_together(
    queue: FaultQueue, start_async: Any
) -> None:
    start_async()
    late, *others = together(queue, message("overstay", "sleep", timeout=3.0), *[message("linger", "gate")] * 4)
    letter = queue.dead_letter(late)
    assert (letter["reason"], letter["attempts"], letter["deliveries"]) == (b"timeout", b"1", b"1")
    stacks = json.loads(letter["error"])["traceback"]
    assert "in overstay" in stacks  # where it was suspended, with none of our own frames around it
    assert "/workd/pool/" not in stacks
    for job in others:
        assert queue.run(job, number=2).delivery == 2  # all four: none has to wait for another
    queue.open_gate("gate")
    for job in others:
        queue.succeeded(job, attempts=1, deliveries=2)
    queue.assert_empty()


def test_a_coroutine_that_blocks_the_loop_times_out_all_the_same(queue: FaultQueue, start_async: Any) -> None:
    start_async()
    job = queue.push("overstay", "block", timeout=0.5)
    letter = queue.dead_letter(job)
    assert letter["reason"] == b"timeout"
    assert "async_tasks.py" in json.loads(letter["error"])["traceback"]
    assert "in overstay" in json.loads(letter["error"])["traceback"]
    queue.succeeded(queue.push("nap", 0))


@pytest.mark.parametrize(
    ("point", "charged"),
    [("after_claim", True), ("before_result", True), ("mid_result", True), ("after_result", False)],
)
def test_a_worker_that_dies_around_a_claim_or_a_result_of_one_of_many_charges_nobody(
    queue: FaultQueue, start_async: Any, tmp_path: Path, point: str, charged: bool
) -> None:
    folder = tmp_path / "armed"
    start_async(max_crashes=1, environment={faultpoints.VARIABLE: f"{point}@{folder / 'once'}"})
    waiting = together(queue, *[message("linger", "gate")] * 3)
    folder.mkdir()
    job = queue.push("nap", 0)
    eventually((folder / "once").exists)
    queue.open_gate("gate")
    queue.succeeded(job, attempts=1, deliveries=2 if charged else 1)
    for other in waiting:
        queue.succeeded(other, attempts=1, deliveries=2)
    assert not queue.dead_letters()
    queue.assert_empty()


def test_a_hundred_naps_run_side_by_side_in_one_worker(queue: FaultQueue, start_async: Any) -> None:
    start_async()
    jobs = queue.push_together(*[message("nap", 0.1)] * 100)
    outcomes = queue.all_ended(jobs)
    for job, outcome in outcomes.items():
        assert outcome["value"] == f"{job} {job}"  # each saw its own context, before and after its sleep
    changes = sorted([(run.at, 1) for run in queue.runs()] + [(run.at, -1) for run in queue.runs(event="end")])
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    assert 25 <= most <= 50


def test_never_more_run_at_once_than_a_task_allows(queue: FaultQueue, start_async: Any) -> None:
    start_async()
    jobs = queue.push_together(*[message("linger_two", "gate")] * 5, message("nap", 0))
    eventually(lambda: len(queue.runs()) == 2)
    queue.open_gate("gate")
    queue.all_ended(jobs)
    ends = [run.at for run in queue.runs(event="end")]
    starts = sorted(run.at for run in queue.runs())
    assert starts[2] >= min(ends)


def test_without_a_word_a_coroutine_is_alone_in_its_worker(queue: FaultQueue, start_async: Any) -> None:
    start_async()
    jobs = queue.push_together(*[message("solo", "gate")] * 3)
    queue.run(jobs[0])
    queue.open_gate("gate")
    queue.all_ended(jobs)
    assert_never_together(queue, delivery=1)


def test_the_daemon_can_say_how_many_run_at_once(queue: FaultQueue, start_async: Any) -> None:
    start_async(async_concurrency=3)
    jobs = together(queue, *[message("solo", "gate")] * 3)
    queue.open_gate("gate")
    for job in jobs:
        queue.succeeded(job, deliveries=1)


def test_a_plain_job_waits_until_the_coroutines_have_ended_and_the_other_way_round(
    queue: FaultQueue, start_async: Any
) -> None:
    start_async(drain_s=0)
    first = together(queue, *[message("linger", "gate")] * 2)
    plain = queue.push("quick", 1)
    after = queue.push("linger", "gate")
    queue.open_gate("gate")
    queue.succeeded(plain, value=1)
    queue.all_ended([*first, after])
    start = queue.run(plain).at
    assert start >= max(run.at for run in queue.runs(event="end") if run.id in first)


def test_a_drain_waits_for_all_of_them_and_hands_back_what_is_left(queue: FaultQueue, start_async: Any) -> None:
    daemon = start_async(drain_s=0.5)
    jobs = together(queue, *[message("linger", "gate")] * 3)
    done = together(queue, message("linger", "other gate"))
    daemon.term()
    daemon.wait_log("draining")
    queue.open_gate("other gate")
    assert daemon.wait() == 0
    queue.succeeded(done[0], attempts=1, deliveries=1)
    assert len(queue.entries()) == 3
    queue.open_gate("gate")
    start_async()
    for job in jobs:
        queue.succeeded(job, attempts=1, deliveries=2)


@pytest.mark.parametrize("alone", ["quick", "solo"])
def test_a_job_that_is_to_run_alone_gets_its_turn_while_coroutines_come_and_go(
    queue: FaultQueue, start_async: Any, alone: str
) -> None:
    start_async()
    naps = together(queue, message("nap", 1.5))
    job = queue.push(alone)
    deadline = time.monotonic() + 10
    while not queue.outcomes(job):  # there is always one that runs, and one that waits
        assert time.monotonic() < deadline, "it was starved"
        naps.append(queue.push("nap", 1.5))
        time.sleep(0.1)
    queue.succeeded(job, deliveries=1)
    queue.all_ended(naps)


def test_a_job_that_waits_for_a_worker_full_of_coroutines_can_still_be_handed_back(
    queue: FaultQueue, start_async: Any
) -> None:
    daemon = start_async(drain_s=60)
    naps = together(queue, *[message("linger", "gate")] * 2)
    job = queue.push("quick")
    eventually(lambda: len(queue.pending()) == 3)
    daemon.term()
    daemon.wait_log("draining")
    eventually(lambda: len(queue.pending()) == 2)  # it did not wait for the two
    queue.open_gate("gate")
    assert daemon.wait() == 0
    for nap in naps:
        queue.succeeded(nap, deliveries=1)
    start_async()
    queue.succeeded(job, deliveries=1)
