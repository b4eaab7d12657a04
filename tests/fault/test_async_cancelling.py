"""One of several coroutines in a worker is cancelled: it is, and the others go on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from fault.test_stopping import cancel
from support.fault_queue import QUEUE, message
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

MODULES = ("support.fault_tasks", "support.async_tasks")


@pytest.mark.parametrize(("task", "event"), [("linger", "start"), ("obey", "soft")])
def test_a_coroutine_that_is_cancelled_hears_of_it_where_it_waits_and_its_neighbours_do_not(
    queue: FaultQueue, start_daemon: StartDaemon, task: str, event: str
) -> None:
    daemon = start_daemon(lease_s=1, workers=1, modules=MODULES, cancel_grace_s=60)
    neighbours = [queue.push("linger", "gate") for _ in range(3)]
    job = queue.push(task, "no gate")
    pids = {queue.run(one).pid for one in [*neighbours, job]}
    cancel(queue, job)
    outcome = queue.ended(job, status="cancelled", value=None, attempts=1, deliveries=1)
    assert "ended by itself" in outcome["error"]["message"]
    assert len(queue.runs(job, event=event)) == 1
    queue.open_gate("gate")
    for one in neighbours:
        queue.succeeded(one, attempts=1, deliveries=1)
    assert set(daemon.worker_pids()) == pids


def test_several_that_are_cancelled_at_once_all_hear_of_it(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(lease_s=1, workers=1, modules=MODULES, cancel_grace_s=60)
    jobs = [queue.push("linger", "no gate") for _ in range(10)]
    [pid] = {queue.run(one).pid for one in jobs}
    for job in jobs:
        cancel(queue, job)
    for job in jobs:
        queue.ended(job, status="cancelled", attempts=1, deliveries=1)
    assert daemon.worker_pids() == [pid]


def test_a_whole_group_that_is_cancelled_hears_of_it_and_costs_its_neighbours_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(lease_s=1, workers=1, modules=MODULES, cancel_grace_s=60)
    jobs = queue.push_together(*[message("crowd")] * 150)
    neighbour = queue.push("crowd", "gate")
    [pid] = {queue.run(one).pid for one in [*jobs, neighbour]}
    os.kill(pid, signal.SIGSTOP)  # all are asked before the worker looks
    queue.client.mset({keys.cancel(QUEUE, job): "1" for job in jobs})
    eventually(lambda: len(daemon.log("a running job is asked to stop")) == len(jobs))
    os.kill(pid, signal.SIGCONT)
    for job in jobs:
        queue.ended(job, status="cancelled", attempts=1, deliveries=1)
    queue.open_gate("gate")
    queue.succeeded(neighbour, attempts=1, deliveries=1)
    assert daemon.worker_pids() == [pid]


def test_one_that_goes_on_all_the_same_is_killed_and_the_others_are_charged_nothing(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    start_daemon(lease_s=1, workers=1, modules=MODULES, cancel_grace_s=0.3, max_crashes=1)
    neighbours = [queue.push("linger", "gate") for _ in range(3)]
    deaf = queue.push("deaf")
    for one in [*neighbours, deaf]:
        queue.run(one)
    cancel(queue, deaf)
    queue.ended(deaf, status="cancelled", attempts=0, deliveries=1)
    for one in neighbours:
        queue.run(one, number=2)  # together again
    queue.open_gate("gate")
    for one in neighbours:
        queue.succeeded(one, attempts=1, deliveries=2)
    queue.assert_empty()
