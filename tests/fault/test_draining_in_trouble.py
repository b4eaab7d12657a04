"""Drains that do not go by the book: Redis hangs, is gone or refuses; and jobs that are cancelled while they run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.fault_queue import QUEUE, STREAM, message
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

GRACE_S = 6.0  # for the end of processes, on a busy machine


def test_a_second_signal_ends_the_wait_for_a_redis_that_is_gone_too(
    lasting_queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    queue = lasting_queue
    daemon = start_daemon(drain_s=60)
    job = queue.push("hold", "gate")
    queue.run(job)
    queue.server.stop()
    queue.open_gate("gate")
    eventually(lambda: queue.runs(job, "end"))
    daemon.term()
    daemon.wait_log("draining")
    told_at = time.monotonic()
    daemon.term()
    assert daemon.wait(30) == 0
    assert time.monotonic() - told_at < GRACE_S
    assert daemon.log("not everything was recorded; others will run these jobs again")
    queue.server.start()
    start_daemon(lease_s=1)
    queue.succeeded(job, timeout_s=20, attempts=1)


def test_nothing_is_started_after_the_signal_while_redis_hangs(
    lasting_queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    queue = lasting_queue
    daemon = start_daemon(workers=1, drain_s=30)
    queue.all_ended(queue.push_together(*[message("soak", 0.002, number) for number in range(50)]))  # so it buffers
    jobs = queue.push_together(*[message("soak", 0.2, number) for number in range(12)])
    queue.run(jobs[0])
    queue.server.pause()
    started = len(queue.runs())
    daemon.term()
    daemon.wait_log("draining")
    assert len(queue.runs()) <= started + 2, "one may end before the signal is heard, and its successor begin"
    queue.server.resume()
    assert daemon.wait(30) == 0
    assert len(queue.runs()) <= started + 2
    start_daemon()
    outcomes = queue.all_ended(jobs)
    assert {outcome["deliveries"] for outcome in outcomes.values()} == {1}


def test_an_end_that_redis_refuses_to_record_does_not_hold_up_the_drain(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(drain_s=60)
    queue.client.set(keys.dead(QUEUE), "somebody else's")
    queue.push_raw(b"garbage")
    daemon.wait_log("the end of a job cannot be recorded; it is kept and tried again until that is put right")
    daemon.term()
    told_at = time.monotonic()
    assert daemon.wait(30) == 0
    assert time.monotonic() - told_at < GRACE_S
    assert queue.pending() == queue.pending(daemon.daemon_id) != []


def test_a_read_whose_answer_was_lost_is_handed_back_by_a_drain_and_charged_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(drain_s=30)
    running = [queue.run(queue.push("hold", "gate")) for _ in range(2)]  # so it reads nothing more
    lost = queue.push("quick", 7)
    assert queue.client.xreadgroup(keys.GROUP, daemon.daemon_id, {STREAM: ">"})
    daemon.term()
    daemon.wait_log("draining")
    assert queue.kill_connections(daemon.daemon_id)
    eventually(lambda: [entry for entry in queue.entries() if entry.get("id") == lost.encode()])
    queue.open_gate("gate")
    assert daemon.wait(30) == 0
    assert not queue.pending()
    start_daemon()
    queue.succeeded(lost, attempts=1, deliveries=1)
    for run in running:
        queue.succeeded(run.id, attempts=1, deliveries=1)


def test_a_job_that_is_cancelled_while_it_runs_is_stopped_and_the_run_is_counted(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=1, workers=2)
    job, neighbour = queue.push("hold", "gate"), queue.push("hold", "gate")
    victim = queue.run(job)
    queue.run(neighbour)
    queue.client.set(f"{keys.prefix(QUEUE)}cancel:{job}", "1", ex=60)
    outcome = queue.ended(job, status="cancelled", attempts=0, deliveries=1)
    assert outcome["error"]["type"] == "cancelled"
    assert outcome["started_at"] is not None
    daemon.wait_workers(2, without=victim.pid)
    queue.open_gate("gate")
    queue.succeeded(neighbour, attempts=1, deliveries=1)
    queue.assert_empty()
