"""The process that makes the workers dies: its workers work on, and there is a new one."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from support.daemons import is_running
from support.waiting import eventually

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue


def kill_forkserver(daemon: DaemonProcess) -> int:
    """Kill it and wait until there is another; return the new pid."""
    (old,) = daemon.forkserver_pids()
    os.kill(old, signal.SIGKILL)
    eventually(lambda: (pids := daemon.forkserver_pids()) != [old] and pids)
    (new,) = daemon.forkserver_pids()
    return new


def test_killing_the_forkserver_in_mid_job_ends_no_job(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    running = [queue.run(queue.push("hold", "gate")) for _ in range(2)]
    kill_forkserver(daemon)
    assert all(is_running(run.pid) for run in running)
    queue.open_gate("gate")
    for run in running:
        queue.succeeded(run.id, attempts=1, deliveries=1, value=run.pid)
        assert len(queue.runs(run.id)) == 1
    for number in range(5):
        queue.succeeded(queue.push("quick", number), value=number, deliveries=1)
    assert sorted(daemon.worker_pids()) == sorted(run.pid for run in running)


def test_a_worker_that_dies_after_its_forkserver_is_replaced_by_the_next_one(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=1)
    job = queue.push("hold", "gate")
    killed = queue.run(job)
    kill_forkserver(daemon)
    os.kill(killed.pid, signal.SIGKILL)
    again = queue.run(job, number=2)
    assert again.pid != killed.pid
    queue.open_gate("gate")
    queue.succeeded(job, attempts=1, deliveries=2, value=again.pid)


def test_forkserver_and_workers_killed_together_come_back_together(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    running = [queue.run(queue.push("hold", "gate")) for _ in range(2)]
    for pid in daemon.forkserver_pids() + daemon.worker_pids():
        os.kill(pid, signal.SIGKILL)
    for run in running:
        assert queue.run(run.id, number=2).delivery == 2
    queue.open_gate("gate")
    for run in running:
        queue.succeeded(run.id, attempts=1, deliveries=2)
    assert len(daemon.forkserver_pids()) == 1


def test_a_forkserver_that_is_stopped_keeps_no_job_and_no_timeout_waiting(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=2)
    (forkserver,) = daemon.forkserver_pids()
    os.kill(forkserver, signal.SIGSTOP)
    for number in range(5):
        queue.succeeded(queue.push("quick", number), value=number)
    os.kill(forkserver, signal.SIGCONT)
    assert daemon.forkserver_pids() == [forkserver]


def test_a_daemon_whose_forkserver_has_died_drains_as_any_other(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    job = queue.push("hold", "gate")
    queue.run(job)
    kill_forkserver(daemon)
    daemon.term()
    daemon.wait_log("draining")
    queue.open_gate("gate")
    assert daemon.wait() == 0
    queue.succeeded(job, attempts=1, deliveries=1)


def test_a_killed_daemon_takes_the_workers_of_its_dead_forkserver_along(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    run = queue.run(queue.push("hang", "gil"))
    kill_forkserver(daemon)
    daemon.kill()
    eventually(lambda: not is_running(run.pid), timeout_s=10)
    eventually(lambda: not daemon.processes(), timeout_s=10)
