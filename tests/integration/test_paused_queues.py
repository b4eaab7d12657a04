"""Pausing and resuming a queue under real daemons."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.daemons import DaemonProcess
from support.fault_queue import QUEUE, FaultQueue, message
from support.waiting import eventually
from workd.broker import keys, queues

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

OTHER = "other"
MODULES = ("support.fault_tasks",)


def pause(queue: FaultQueue) -> None:
    queue.client.execute_command(*queues.pause_command(QUEUE, "the database moves", by="ops"))


def resume(queue: FaultQueue) -> None:
    queue.client.execute_command(*queues.resume_command(QUEUE))


def test_a_paused_queue_starts_nothing_while_what_runs_and_other_queues_go_on(valkey: Server, tmp_path: Path) -> None:
    queue = FaultQueue(valkey, tmp_path)
    served = {"modules": MODULES, "workers": 2, "queues": f"{QUEUE},{OTHER}"}
    with DaemonProcess(valkey.url, tmp_path, **served) as one, DaemonProcess(valkey.url, tmp_path, **served) as two:  # type: ignore[arg-type]
        daemons = (one, two)
        for daemon in daemons:
            daemon.wait_ready()
        running = queue.push("hold", "gate")
        queue.run(running)
        pause(queue)
        for daemon in daemons:
            daemon.wait_log("the queue is paused", timeout_s=5)
        held_up = queue.push_together(*[message("quick")] * 5)
        inbox = json.dumps({"task": "quick", "id": "pushed", "reply_to": "test"})
        queue.client.rpush(keys.inbox(QUEUE), inbox)
        eventually(lambda: not queue.client.exists(keys.inbox(QUEUE)))  # it moves on, into the stream
        job = {"task": "quick", "id": "elsewhere", "result_ttl": 60}
        queue.client.xadd(keys.stream(OTHER), {"m": json.dumps(job)})
        assert eventually(lambda: queue.client.get(keys.result(OTHER, "elsewhere")))
        queue.open_gate("gate")
        queue.succeeded(running)
        assert [run.id for run in queue.runs()] == [running, "elsewhere"]
        assert queue.pending() == []

        resume(queue)
        queue.all_ended([*held_up, "pushed"])
    queue.close()


def test_what_was_fetched_and_has_not_started_goes_back_when_its_queue_is_paused(
    valkey: Server, tmp_path: Path
) -> None:
    queue = FaultQueue(valkey, tmp_path)
    with DaemonProcess(valkey.url, tmp_path, modules=MODULES, workers=1) as daemon:
        daemon.wait_ready()
        queue.warm_up("step")  # so that it takes many of these at once
        jobs = queue.push_together(message("step", "gate"), *[message("step")] * 20)
        queue.run(jobs[0])
        eventually(lambda: len(queue.pending()) > 1)
        pause(queue)
        daemon.wait_log("the queue is paused", timeout_s=5)
        eventually(lambda: queue.pending() == jobs[:1])
        queue.open_gate("gate")
        queue.succeeded(jobs[0])
        assert len(queue.entries()) == 20
        resume(queue)
        outcomes = queue.all_ended(jobs)
        assert {outcome["deliveries"] for outcome in outcomes.values()} == {1}
    queue.close()


def test_a_daemon_that_starts_on_a_paused_queue_starts_nothing_and_is_ready(valkey: Server, tmp_path: Path) -> None:
    queue = FaultQueue(valkey, tmp_path)
    pause(queue)
    job = queue.push("quick")
    with DaemonProcess(valkey.url, tmp_path, modules=MODULES) as daemon:
        daemon.wait_ready()
        retried = queue.push("quick")
        daemon.term()
        assert daemon.wait() == 0
    assert queue.runs() == []
    with DaemonProcess(valkey.url, tmp_path, modules=MODULES) as daemon:
        daemon.wait_ready()
        resume(queue)
        queue.all_ended([job, retried])
    queue.close()


def test_jobs_of_a_dead_daemon_are_kept_while_the_queue_is_paused(valkey: Server, tmp_path: Path) -> None:
    queue = FaultQueue(valkey, tmp_path)
    with (
        DaemonProcess(valkey.url, tmp_path, modules=MODULES) as first,
        DaemonProcess(valkey.url, tmp_path, modules=MODULES) as second,
    ):
        first.wait_ready()
        job = queue.push("hold", "gate-1")
        queue.run(job)
        second.wait_ready()
        pause(queue)
        second.wait_log("the queue is paused")
        survivor, dead = (second, first) if queue.pending(first.daemon_id) else (first, second)
        dead.kill()
        survivor.wait_log("took over jobs of dead daemons")
        eventually(lambda: queue.pending() == [])
        assert len(queue.runs()) == 1
        resume(queue)
        queue.open_gate("gate-1-2")
        queue.succeeded(job)
    queue.close()
