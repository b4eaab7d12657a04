"""A daemon is killed, or away for longer than its lease: another takes over, and nothing is lost or recorded twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.daemons import ORPHANS_TIMEOUT_S, is_running
from support.fault_queue import QUEUE, STREAM
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue, Run

LEASE_S = 2.0
TAKEOVER_S = LEASE_S + 2.0  # the promise where the daemon itself was killed


def held(queue: FaultQueue, daemon: DaemonProcess, count: int = 2) -> list[Run]:
    """Have as many workers of a daemon, the only one so far, hold a job each at `gate`."""
    runs = [queue.run(queue.push("hold", "gate")) for _ in range(count)]
    assert sorted(queue.pending(daemon.daemon_id)) == sorted(run.id for run in runs)
    return runs


def test_the_jobs_of_a_killed_daemon_run_on_another_within_a_lease_and_two_seconds(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    doomed = start_daemon(lease_s=LEASE_S)
    running = held(queue, doomed)
    waiting = [queue.push("quick", number) for number in range(20)]
    other = start_daemon(lease_s=LEASE_S, workers=4)
    killed_at = time.time()
    doomed.kill()

    for run in running:
        again = queue.run(run.id, number=2)
        assert again.delivery == 2
        assert again.at - killed_at < TAKEOVER_S
    took = other.wait_log("took over jobs of dead daemons")
    assert (took["jobs"], took["daemons"]) == (2, [doomed.daemon_id])
    queue.open_gate("gate")
    for run in running:
        queue.succeeded(run.id, attempts=1, deliveries=2, daemon=other.daemon_id)
        assert len(queue.runs(run.id)) == 2
    for number, job in enumerate(waiting):
        queue.succeeded(job, value=number, attempts=1, deliveries=1)
        assert len(queue.runs(job)) == 1
    queue.assert_empty()
    assert queue.leases() == {other.daemon_id}
    eventually(lambda: queue.consumers() == {other.daemon_id})


def test_a_daemon_that_starts_later_takes_over_what_a_killed_one_left(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    doomed = start_daemon(lease_s=LEASE_S)
    running = held(queue, doomed)
    doomed.kill()
    queue.open_gate("gate")
    start_daemon(lease_s=LEASE_S)
    for run in running:
        queue.succeeded(run.id, attempts=1, deliveries=2)


def test_a_job_that_outlives_too_many_daemons_is_dead(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    doomed = start_daemon(lease_s=1, max_takeovers=1)
    (run,) = held(queue, doomed, count=1)
    second = start_daemon(lease_s=1, max_takeovers=1)
    doomed.kill()
    queue.run(run.id, number=2)
    third = start_daemon(lease_s=1, max_takeovers=1)
    second.kill()
    letter = queue.dead_letter(run.id)
    assert (letter["reason"], letter["attempts"]) == (b"crashed", b"0")
    assert b"max_takeovers is 1" in letter["error"]
    assert len(queue.runs(run.id)) == 2
    assert third.alive


@pytest.mark.parametrize("how", ["sleep", "gil", "spin", "stopped"])
def test_the_processes_of_a_killed_daemon_are_gone_at_once_whatever_they_do(
    queue: FaultQueue, start_daemon: StartDaemon, how: str
) -> None:
    doomed = start_daemon()
    queue.run(queue.push("hang", how))
    workers, forkservers = doomed.worker_pids(), doomed.forkserver_pids()
    assert (len(workers), len(forkservers)) == (2, 1)
    doomed.kill()
    eventually(lambda: not any(map(is_running, workers + forkservers)), timeout_s=ORPHANS_TIMEOUT_S)
    assert not doomed.processes()


# ── the daemon that comes back ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def paused(queue: FaultQueue, start_daemon: StartDaemon) -> DaemonProcess:
    """A daemon whose supervisor is stopped while its worker runs on; nobody else is there yet."""
    daemon = start_daemon(lease_s=LEASE_S, workers=1)
    held(queue, daemon, count=1)
    daemon.pause()
    return daemon


@pytest.fixture
def other(start_daemon: StartDaemon, paused: DaemonProcess) -> DaemonProcess:
    """The daemon that takes over."""
    return start_daemon(lease_s=LEASE_S, workers=1)


def test_a_daemon_that_slept_through_its_lease_kills_what_it_runs_and_changes_nothing(
    queue: FaultQueue, paused: DaemonProcess, other: DaemonProcess
) -> None:
    first = queue.runs()[0]
    second = queue.run(first.id, number=2)
    assert is_running(first.pid)

    paused.resume()

    paused.wait_log("the lease was lost; its jobs are another daemon's now")
    eventually(lambda: not is_running(first.pid))
    assert is_running(second.pid)
    queue.open_gate("gate")
    queue.succeeded(first.id, attempts=1, deliveries=2, daemon=other.daemon_id, value=second.pid)
    assert [run.pid for run in queue.runs(first.id, "end")] == [second.pid]
    queue.assert_empty()


def test_a_result_that_comes_after_the_lease_is_lost_is_not_recorded(
    queue: FaultQueue, paused: DaemonProcess, other: DaemonProcess
) -> None:
    first = queue.runs()[0]
    second = queue.run(first.id, number=2)
    queue.open_gate("gate-1")
    eventually(lambda: queue.runs(first.id, "end"))  # its result waits in the pipe of the paused supervisor

    paused.resume()

    paused.wait_log("the lease was lost; its jobs are another daemon's now")
    assert not queue.outcomes()
    assert queue.pending() == queue.pending(other.daemon_id) == [first.id]
    queue.open_gate("gate-2")
    queue.succeeded(first.id, attempts=1, deliveries=2, daemon=other.daemon_id, value=second.pid)
    queue.assert_empty()


def test_an_outcome_that_is_sent_after_a_takeover_that_nobody_has_noticed_changes_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=60)  # it will not renew within this test
    first, second = held(queue, daemon)
    queue.client.hdel(keys.leases(QUEUE), daemon.daemon_id)
    queue.client.xclaim(STREAM, keys.GROUP, "another", 0, [first.id, second.id])
    queue.open_gate("gate")
    eventually(lambda: len(queue.runs(event="end")) == 2)
    daemon.wait_log("connected to Redis", count=2)  # it was told that it is fenced
    assert sorted(queue.pending("another")) == sorted([first.id, second.id])
    assert not queue.outcomes()
    queue.succeeded(queue.push("quick"), deliveries=1, daemon=daemon.daemon_id)


def test_a_daemon_that_lost_its_connections_and_its_lease_kills_what_it_runs_too(
    queue: FaultQueue, paused: DaemonProcess, other: DaemonProcess
) -> None:
    first = queue.runs()[0]
    second = queue.run(first.id, number=2)
    assert queue.kill_connections(paused.daemon_id)

    paused.resume()

    paused.wait_log("the lease was lost; its jobs are another daemon's now")
    eventually(lambda: not is_running(first.pid))
    queue.open_gate("gate")
    queue.succeeded(first.id, attempts=1, deliveries=2, daemon=other.daemon_id, value=second.pid)
    queue.assert_empty()


def test_a_daemon_that_lost_its_lease_serves_again(
    queue: FaultQueue, paused: DaemonProcess, other: DaemonProcess
) -> None:
    first = queue.runs()[0]
    queue.run(first.id, number=2)
    paused.resume()
    paused.wait_log("connected to Redis", count=2)
    assert queue.leases() == {paused.daemon_id, other.daemon_id}
    job = queue.push("quick", 1)  # the other's only worker is busy
    queue.succeeded(job, deliveries=1, daemon=paused.daemon_id)
    queue.open_gate("gate")
    queue.succeeded(first.id, attempts=1, deliveries=2, daemon=other.daemon_id)
