"""Redis goes away, loses connections, loses its data, holds somebody else's keys: no job is run twice for that."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from support.daemons import is_running
from support.fault_queue import QUEUE, STREAM, message
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

LEASE_S = 1.0
OUTAGE_S = 3 * LEASE_S + 0.5
CALL_TIMEOUT_S = 5.0  # after which a daemon gives a connection up that does not answer
AGAIN_S = 1.0  # the promise: it consumes again so soon after Redis' return


def took_over_nothing(*daemons: object) -> bool:
    return not any(daemon.log("took over jobs of dead daemons") for daemon in daemons)  # type: ignore[attr-defined]


def test_a_redis_that_was_stopped_for_three_leases_finds_every_running_job_still_running_once(
    lasting_queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    queue = lasting_queue
    daemons = [start_daemon(lease_s=LEASE_S), start_daemon(lease_s=LEASE_S)]
    running = [queue.push("hold", "gate") for _ in range(3)]
    finishing = queue.push("hold", "early gate")
    for job in (*running, finishing):
        queue.run(job)

    queue.server.stop()
    away_since = time.monotonic()
    queue.open_gate("early gate")
    eventually(lambda: queue.runs(finishing, "end"))
    for daemon in daemons:
        daemon.wait_log("Redis is not usable; trying again until it is")
    time.sleep(OUTAGE_S - (time.monotonic() - away_since))  # the outage itself
    queue.server.start()
    back_at = time.time()

    fresh = queue.push("quick", 1)
    assert queue.run(fresh).at - back_at < AGAIN_S
    queue.succeeded(finishing, attempts=1, deliveries=1)
    time.sleep(LEASE_S + 2)  # all that a takeover would need
    queue.open_gate("gate")
    for job in running:
        queue.succeeded(job, attempts=1, deliveries=1)
    assert set(Counter(run.id for run in queue.runs()).values()) == {1}
    assert took_over_nothing(*daemons)
    queue.assert_empty()


@pytest.mark.parametrize("outage_s", [OUTAGE_S, CALL_TIMEOUT_S + 3.0])
def test_a_redis_that_hangs_for_a_while_costs_no_job_a_second_run(
    lasting_queue: FaultQueue, start_daemon: StartDaemon, outage_s: float
) -> None:
    queue = lasting_queue
    daemons = [start_daemon(lease_s=LEASE_S), start_daemon(lease_s=LEASE_S)]
    running = [queue.push("hold", "gate") for _ in range(3)]
    finishing = queue.push("hold", "early gate")
    for job in (*running, finishing):
        queue.run(job)

    queue.server.pause()
    queue.open_gate("early gate")
    time.sleep(outage_s)  # the outage itself
    queue.server.resume()

    queue.succeeded(queue.push("quick", 1), deliveries=1)
    queue.succeeded(finishing, attempts=1, deliveries=1)
    time.sleep(LEASE_S + 2)  # all that a takeover would need
    queue.open_gate("gate")
    for job in running:
        queue.succeeded(job, attempts=1, deliveries=1)
    assert set(Counter(run.id for run in queue.runs()).values()) == {1}
    assert took_over_nothing(*daemons)
    queue.assert_empty()


def test_connections_that_are_cut_again_and_again_under_load_cost_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemons = [start_daemon(), start_daemon()]
    stop = threading.Event()
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        while not stop.wait(0.03):
            cuts += queue.kill_connections()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        jobs = []
        for _ in range(40):
            jobs += queue.push_together(*[message("soak", 0.002, number) for number in range(25)])
            time.sleep(0.03)  # a steady load
    finally:
        stop.set()
        cutter.join()
    assert cuts > 20, "there was nothing to cut"

    outcomes = queue.all_ended(jobs)
    assert {outcome["status"] for outcome in outcomes.values()} == {"succeeded"}
    runs = Counter(run.id for run in queue.runs())
    assert all(runs[job] <= outcomes[job]["deliveries"] for job in jobs)
    assert set(runs.values()) == {1}, "no lease was lost, so nothing may run twice"
    assert took_over_nothing(*daemons)
    queue.assert_empty()


def test_connections_that_are_cut_while_named_jobs_are_admitted_lose_none_of_them(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon()
    names = [f"job-{number}" for number in range(200)]
    for start in range(0, len(names), 10):
        queue.push_together(*[message("quick", id=name) for name in names[start : start + 10]])
        queue.kill_connections()
    queue.all_ended(names)
    assert Counter(run.id for run in queue.runs()) == Counter(names)
    queue.assert_empty()


def test_a_read_whose_answer_was_lost_is_found_after_the_reconnect(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    running = [queue.run(queue.push("hold", "gate")) for _ in range(2)]  # so it reads nothing more
    jobs = [queue.push("quick", number) for number in range(3)]
    read = queue.client.xreadgroup(keys.GROUP, daemon.daemon_id, {STREAM: ">"})  # what it would have been answered
    assert len(read[0][1]) == len(jobs)
    queue.kill_connections(daemon.daemon_id)
    daemon.wait_log("connected to Redis", count=2)
    queue.open_gate("gate")
    for job in [*jobs, *(run.id for run in running)]:
        queue.succeeded(job, attempts=1, deliveries=1)
        assert len(queue.runs(job)) == 1
    queue.assert_empty()


# ── data that is gone ───────────────────────────────────────────────────────────────────────────────────────────────


def _delete_the_stream(queue: FaultQueue) -> None:
    queue.client.delete(STREAM)


def _destroy_the_group(queue: FaultQueue) -> None:
    queue.client.xgroup_destroy(STREAM, keys.GROUP)


def _delete_the_leases(queue: FaultQueue) -> None:
    queue.client.delete(keys.leases(QUEUE))


def _flush(queue: FaultQueue) -> None:
    queue.flush()


@pytest.mark.parametrize("lose", [_flush, _delete_the_stream, _destroy_the_group, _delete_the_leases])
@pytest.mark.parametrize("busy", [False, True])
def test_a_daemon_whose_data_is_deleted_under_it_goes_on_with_new_messages(
    queue: FaultQueue, start_daemon: StartDaemon, lose: object, busy: bool
) -> None:
    daemon = start_daemon(lease_s=LEASE_S)
    if busy:
        queue.run(queue.push("hold", "gate"))
    lose(queue)  # type: ignore[operator]
    for number in range(5):
        queue.succeeded(queue.push("quick", number), value=number)
    queue.open_gate("gate")
    time.sleep(LEASE_S)  # a renewal, which finds what is gone
    for number in range(5):
        queue.succeeded(queue.push("quick", number), value=number)
    assert daemon.alive
    eventually(lambda: queue.leases() == {daemon.daemon_id})
    queue.assert_empty()


# ── keys of another type ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_stream_of_the_wrong_type_harms_nothing_but_that_reply(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    place = keys.reply(QUEUE, "occupied")
    queue.client.set(place, "somebody's")
    lost = queue.push_raw(json.dumps({"task": "quick", "args": [1], "reply_to": "occupied"}))
    dead = queue.push_raw(json.dumps({"task": "exact", "reply_to": "occupied"}))
    others = queue.push_together(*[message("quick", number) for number in range(20)])

    for number, job in enumerate(others):
        queue.succeeded(job, value=number, deliveries=1)
    kept = eventually(lambda: queue.client.get(keys.result(QUEUE, lost)))
    assert json.loads(kept)["value"] == 1
    assert queue.dead_letter(dead)["reason"] == b"invalid"
    assert queue.client.get(place) == b"somebody's"
    queue.assert_empty()
    assert daemon.alive


def test_a_result_that_cannot_be_written_is_kept_until_it_can(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    place = keys.result(QUEUE, "named")
    queue.client.hset(place, "somebody", "else's")
    queue.push("quick", 5, id="named")
    refused = daemon.wait_log("the end of a job cannot be recorded; it is kept and tried again until that is put right")
    assert place in refused["error"]
    queue.succeeded(queue.push("quick", 6), value=6)
    assert len(queue.pending(daemon.daemon_id)) == 1
    assert queue.client.hgetall(place) == {b"somebody": b"else's"}
    queue.client.delete(place)
    queue.succeeded("named", attempts=1, deliveries=1, value=5)
    assert len(queue.runs("named")) == 1
    queue.assert_empty()


@pytest.mark.parametrize("place", [keys.dead(QUEUE), keys.scheduled(QUEUE)])
def test_dead_letters_and_retries_that_cannot_be_written_are_kept_until_they_can(
    queue: FaultQueue, start_daemon: StartDaemon, place: str
) -> None:
    daemon = start_daemon()
    retries = int(place == keys.scheduled(QUEUE))
    job = queue.push("fail_until", 2, "gate", max_retries=retries)
    queue.run(job)
    queue.client.set(place, "somebody else's")
    queue.open_gate("gate")
    eventually(lambda: [line for line in daemon.log() if place in line.get("error", "")])
    assert queue.client.get(place) == b"somebody else's"
    assert not queue.outcomes()
    assert len(queue.pending(daemon.daemon_id)) == 1
    queue.client.delete(place)
    queue.ended(job, status="succeeded" if retries else "dead", attempts=1 + retries, deliveries=1 + retries)
    assert len(queue.runs(job)) == 1 + retries
    queue.succeeded(queue.push("quick", 6), value=6)
    queue.assert_empty()


def test_a_daemon_waits_visibly_while_its_stream_is_of_another_type(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    run = queue.run(queue.push("hold", "gate"))
    queue.client.rename(STREAM, "aside")
    queue.client.set(STREAM, "somebody else's")
    said = daemon.wait_log("Redis is not usable; trying again until it is")
    assert STREAM in said["error"]
    assert queue.client.get(STREAM) == b"somebody else's"
    assert is_running(run.pid)
    queue.client.rename("aside", STREAM)
    queue.open_gate("gate")
    queue.succeeded(run.id, attempts=1, deliveries=1, timeout_s=15.0)
    queue.assert_empty()
