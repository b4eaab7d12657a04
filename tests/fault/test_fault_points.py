"""A daemon or a worker dies at each step between fetch and settle: nothing is lost, and one outcome is recorded."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from support.fault_queue import message
from workd import faultpoints

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

LEASE_S = 1.0


def dying(start_daemon: StartDaemon, point: str, **settings: Any) -> DaemonProcess:
    """Start a daemon that kills itself at a point."""
    return start_daemon(environment={faultpoints.VARIABLE: point}, lease_s=LEASE_S, **settings)


def assert_killed(daemon: DaemonProcess) -> None:
    """See that the daemon did reach its point."""
    assert daemon.wait(60.0) == -signal.SIGKILL  # it may have to start first, beside others


@pytest.mark.parametrize(
    ("point", "runs", "deliveries"),
    [
        ("after_claim", 1, 2),  # it had not begun, but nobody can know that
        ("before_result", 2, 2),
        ("after_result", 1, 1),  # its result was whole: the death costs nothing
    ],
)
def test_a_worker_that_dies_around_its_result(
    queue: FaultQueue, start_daemon: StartDaemon, tmp_path: Path, point: str, runs: int, deliveries: int
) -> None:
    dying(start_daemon, f"{point}@{tmp_path / 'once'}")
    job = queue.push("quick", 3)
    queue.succeeded(job, value=3, attempts=1, deliveries=deliveries)
    assert (tmp_path / "once").exists(), "the point was not reached"
    assert len(queue.runs(job)) == runs
    queue.succeeded(queue.push("quick", 4), value=4, deliveries=1)
    queue.assert_empty()


@pytest.mark.parametrize(
    ("point", "runs", "deliveries"),
    [
        ("after_fetch", 1, 2),  # fetched and lost from memory: counted as a run that may have been
        ("before_settle", 2, 2),
        ("after_settle", 1, 1),  # recorded; only the daemon itself never heard so
    ],
)
def test_a_daemon_that_dies_between_fetch_and_settle(
    queue: FaultQueue, start_daemon: StartDaemon, point: str, runs: int, deliveries: int
) -> None:
    doomed = dying(start_daemon, point)
    job = queue.push("quick", 3)
    assert_killed(doomed)
    start_daemon(lease_s=LEASE_S)
    queue.succeeded(job, value=3, attempts=1, deliveries=deliveries)
    assert len(queue.runs(job)) == runs
    queue.assert_empty()


@pytest.mark.parametrize(("point", "attempts"), [("before_settle", 3), ("after_settle", 2)])
def test_a_daemon_that_dies_when_it_puts_a_retry_back(
    queue: FaultQueue, start_daemon: StartDaemon, point: str, attempts: int
) -> None:
    doomed = dying(start_daemon, point)
    job = queue.push("fail_until", 2)
    assert_killed(doomed)
    start_daemon(lease_s=LEASE_S)
    outcome = queue.succeeded(job, value=2)
    assert outcome["attempts"] == 2
    assert outcome["deliveries"] == len(queue.runs(job)) == attempts
    queue.assert_empty()


@pytest.mark.parametrize("point", ["before_settle", "after_settle"])
def test_a_daemon_that_dies_when_it_writes_a_dead_letter_leaves_exactly_one(
    queue: FaultQueue, start_daemon: StartDaemon, point: str
) -> None:
    doomed = dying(start_daemon, point)
    job = queue.push_raw(b"{")
    assert_killed(doomed)
    start_daemon(lease_s=LEASE_S)
    assert queue.dead_letter(job)["m"] == b"{"
    queue.assert_empty()
    assert len(queue.dead_letters()) == 1


@pytest.mark.parametrize("point", ["before_settle", "after_settle"])
def test_a_daemon_that_dies_when_it_hands_back_what_a_drain_leaves(
    queue: FaultQueue, start_daemon: StartDaemon, point: str
) -> None:
    doomed = dying(start_daemon, point, drain_s=0)
    job = queue.push("hold", "gate")
    queue.run(job)
    doomed.term()
    assert_killed(doomed)
    queue.open_gate("gate")
    start_daemon(lease_s=LEASE_S)
    queue.succeeded(job, attempts=1, deliveries=2)
    assert len(queue.runs(job)) == 2
    queue.assert_empty()


def test_a_daemon_that_dies_when_it_has_taken_over(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    first = start_daemon(lease_s=LEASE_S)
    job = queue.push("hold", "gate")
    queue.run(job)
    first.kill()
    assert_killed(dying(start_daemon, "after_takeover"))
    queue.open_gate("gate")
    start_daemon(lease_s=LEASE_S)
    queue.succeeded(job, attempts=1, deliveries=3)
    assert len(queue.runs(job)) == 2
    queue.assert_empty()


@pytest.mark.parametrize("point", ["after_fetch", "before_settle", "after_settle"])
def test_daemons_that_die_one_after_the_other_under_load_lose_nothing(
    queue: FaultQueue, start_daemon: StartDaemon, point: str
) -> None:
    jobs = queue.push_together(*[message("quick", number) for number in range(100)])
    named = [f"named-{number}" for number in range(20)]
    queue.push_together(*[message("quick", number, id=name) for number, name in enumerate(named)])
    for doomed in [dying(start_daemon, f"{point}:{turn}", ready=False) for turn in (1, 1, 2)]:
        assert_killed(doomed)
    start_daemon(lease_s=LEASE_S)
    outcomes = queue.all_ended(jobs + named)
    assert {outcome["status"] for outcome in outcomes.values()} == {"succeeded"}
    runs = queue.runs()
    for job, outcome in outcomes.items():
        assert len([run for run in runs if run.id == job]) <= outcome["deliveries"]
    queue.assert_empty()
