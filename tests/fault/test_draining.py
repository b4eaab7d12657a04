"""SIGTERM loses nothing: what runs may finish, what has not started goes back uncharged, and the exit code is 0."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hiredis import pack_command

from support.daemons import is_running
from support.fault_queue import STREAM, message
from support.waiting import eventually

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

PROMPT_S = 2.0  # an end that waits for nothing


def assert_gone(queue: FaultQueue, daemon: DaemonProcess) -> None:
    """See that a daemon left no trace of itself in Redis."""
    assert daemon.daemon_id not in queue.leases() | queue.consumers()
    assert not queue.pending(daemon.daemon_id)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_stop_lets_its_running_jobs_finish(
    queue: FaultQueue, start_daemon: StartDaemon, number: signal.Signals
) -> None:
    daemon = start_daemon()
    running = [queue.run(queue.push("hold", "gate")) for _ in range(2)]
    daemon.send(number)
    daemon.wait_log("draining")
    later = queue.push("quick")
    queue.open_gate("gate")
    assert daemon.wait() == 0
    for run in running:
        queue.succeeded(run.id, attempts=1, deliveries=1, value=run.pid)
    assert_gone(queue, daemon)
    assert queue.consumers() == set()
    assert len(queue.entries()) == 1, "what came after the signal is left to others"
    start_daemon()
    queue.succeeded(later, attempts=1, deliveries=1)


def test_what_has_not_started_is_handed_back_at_once_and_uncharged(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=1)
    queue.warm_up("step")
    head, *behind = queue.push_together(message("step", "gate"), *[message("step")] * 20)
    run = queue.run(head)
    eventually(lambda: len(queue.pending(daemon.daemon_id)) == 21)

    daemon.term()

    eventually(lambda: queue.pending() == [head], timeout_s=10)
    assert is_running(run.pid), "the job that runs has its time"
    assert {entry.get("n") for entry in queue.entries() if b"gate" not in entry["m"]} == {b"0 0 0 0"}
    other = start_daemon(workers=1)
    for job in behind:
        queue.succeeded(job, attempts=1, deliveries=1, daemon=other.daemon_id)
    queue.open_gate("gate")
    queue.succeeded(head, attempts=1, deliveries=1, daemon=daemon.daemon_id)
    assert daemon.wait() == 0
    assert_gone(queue, daemon)
    queue.assert_empty()


def test_at_the_deadline_what_runs_is_killed_and_handed_back_with_its_attempt_refunded(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(drain_s=0.5)
    runs = [queue.run(queue.push("hang", how)) for how in ("gil", "stopped")]
    daemon.term()
    assert daemon.wait() == 0
    assert not any(is_running(run.pid) for run in runs)
    assert_gone(queue, daemon)
    entries = queue.entries()
    assert sorted(entry["id"].decode() for entry in entries) == sorted(run.id for run in runs)
    assert [entry["n"] for entry in entries] == [b"0 0 0 1"] * 2
    assert not queue.outcomes()


def test_a_job_that_a_drain_cut_short_has_one_attempt_in_the_end(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(drain_s=0)
    job = queue.push("hold", "gate")
    queue.run(job)
    daemon.term()
    assert daemon.wait() == 0
    queue.open_gate("gate")
    start_daemon()
    queue.succeeded(job, attempts=1, deliveries=2)
    assert [run.attempt for run in queue.runs(job)] == [1, 1]
    assert [run.delivery for run in queue.runs(job)] == [1, 2]


def test_a_second_signal_makes_the_deadline_now(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(drain_s=600)
    job = queue.push("hold", "gate")
    queue.run(job)
    daemon.term()
    daemon.wait_log("draining")
    daemon.term()
    assert daemon.wait(PROMPT_S) == 0
    assert [entry["n"] for entry in queue.entries()] == [b"0 0 0 1"]
    assert_gone(queue, daemon)
    queue.open_gate("gate")
    start_daemon()
    queue.succeeded(job, attempts=1, deliveries=2)


def test_two_signals_at_once_end_it_as_well(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(drain_s=600)
    queue.run(queue.push("hold", "gate"))
    daemon.pause()
    daemon.send(signal.SIGINT)
    daemon.term()
    daemon.resume()
    assert daemon.wait(PROMPT_S) == 0
    assert [entry["n"] for entry in queue.entries()] == [b"0 0 0 1"]
    assert_gone(queue, daemon)


def test_an_idle_daemon_ends_at_once(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(drain_s=600)
    daemon.term()
    assert daemon.wait(PROMPT_S) == 0
    assert_gone(queue, daemon)


def test_drains_under_load_leave_nothing_behind_and_run_nothing_twice(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    jobs = queue.push_together(*[message("soak", 0.001, number) for number in range(2_500)])
    for _ in range(2):
        daemon = start_daemon()
        eventually(queue.pending)
        daemon.term()
        assert daemon.wait() == 0
        assert_gone(queue, daemon)
    assert queue.entries(), "there was no load any more"
    start_daemon(workers=4)
    outcomes = queue.all_ended(jobs)
    assert {(one["status"], one["attempts"], one["deliveries"]) for one in outcomes.values()} == {("succeeded", 1, 1)}
    assert set(Counter(run.id for run in queue.runs()).values()) == {1}
    queue.assert_empty()


def test_a_message_whose_read_is_under_way_when_the_signal_comes_is_handed_back(
    lasting_queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    queue = lasting_queue
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket() as producer:
        systemd.settimeout(10.0)
        systemd.bind(str(queue.folder / "notify"))
        daemon = start_daemon(drain_s=600, environment={"NOTIFY_SOCKET": str(queue.folder / "notify")})
        producer.connect(("127.0.0.1", queue.server.port))
        queue.server.pause()
        words: Any = ("XADD", STREAM, "*", "m", message("quick", 3))  # hiredis' annotation wants a tuple of one
        producer.sendall(pack_command(words))
        daemon.term()
        while b"STOPPING=1" not in systemd.recv(4096):
            pass
        time.sleep(0.2)  # nothing may happen now: a daemon that did not wait for its read would leave
        queue.server.resume()
        assert daemon.wait() == 0
        (job,) = [line.decode() for line in producer.recv(4096).splitlines() if b"-" in line]
    assert_gone(queue, daemon)
    start_daemon()
    queue.succeeded(job, attempts=1, deliveries=1, value=3)
    assert len(queue.runs(job)) == 1


def test_a_worker_that_crashes_during_the_drain_has_its_job_handed_on(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=1, drain_s=600)
    crashing = queue.push("step", "gate", True)
    queue.run(crashing)
    daemon.term()
    daemon.wait_log("draining")
    queue.open_gate("gate")
    assert daemon.wait(PROMPT_S) == 0
    assert [entry["n"] for entry in queue.entries()] == [b"0 1 0 0"]
    assert_gone(queue, daemon)
    start_daemon()
    queue.succeeded(crashing, attempts=1, deliveries=2)


# ── while it starts, and while Redis is away ────────────────────────────────────────────────────────────────────────


def test_a_signal_while_the_tasks_are_being_loaded_ends_it(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(ready=False, modules=("support.slow_boot_tasks",))
    daemon.wait_log("starting")
    eventually((queue.folder / "importing").exists)
    daemon.term()
    assert daemon.wait(PROMPT_S + 1.0) == 0  # a second is the module's chance to leave by itself
    daemon.close()


def test_a_signal_while_redis_has_never_been_there_ends_it(
    lasting_queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    lasting_queue.server.stop()
    daemon = start_daemon(ready=False)
    daemon.wait_log("Redis is not usable; trying again until it is")
    daemon.term()
    assert daemon.wait(PROMPT_S) == 0


@pytest.mark.parametrize("away", ["stopped", "paused"])
def test_a_drain_without_redis_ends_at_its_deadline_and_leaves_the_job_to_its_lease(
    lasting_queue: FaultQueue, start_daemon: StartDaemon, away: str
) -> None:
    queue = lasting_queue
    daemon = start_daemon(drain_s=1, lease_s=1)
    job = queue.push("hold", "gate")
    queue.run(job)
    if away == "stopped":
        queue.server.stop()
    else:
        queue.server.pause()
    queue.open_gate("gate")
    eventually(lambda: queue.runs(job, "end"))
    told_at = time.monotonic()
    daemon.term()
    assert daemon.wait() == 0
    assert time.monotonic() - told_at < 20  # drain_s, and a grace for what the end of the drain brought
    assert daemon.log("not everything was recorded; others will run these jobs again")
    if away == "stopped":
        queue.server.start()
    else:
        queue.server.resume()
    start_daemon(lease_s=1)
    queue.succeeded(job, attempts=1)
    assert len(queue.outcomes(job)) == 1
    queue.assert_empty()
