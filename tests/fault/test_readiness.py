"""READY=1 means that a job pushed now would be run: Redis answers, the group is there, every slot has its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.notify import NotifySocket
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

PATIENCE_S = 60.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as manager:
        yield manager


def jobs_per_s(line: str) -> float:
    return float(line.partition(" jobs/s")[0].rpartition(" ")[2])


def test_ready_comes_after_the_workers_and_with_the_group(
    queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket
) -> None:
    modules = ("support.slow_boot_tasks", "support.fault_tasks")
    daemon = start_daemon(ready=False, modules=modules, workers=3, environment=manager.environment())
    eventually((queue.folder / "importing").exists, PATIENCE_S)
    manager.wait("EXTEND_TIMEOUT_USEC", timeout_s=PATIENCE_S)
    assert not manager.said("READY")
    queue.open_gate("import")
    assert "consuming 1 queue, 3/3 workers, " in manager.wait("READY", timeout_s=PATIENCE_S)["STATUS"]
    assert daemon.daemon_id in queue.consumers() | queue.leases()
    queue.succeeded(queue.push("quick"))


def test_without_redis_it_is_not_ready_and_says_why(
    lasting_queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket
) -> None:
    queue = lasting_queue
    queue.server.stop()
    daemon = start_daemon(ready=False, environment=manager.environment())
    daemon.wait_log("Redis is not usable; trying again until it is", timeout_s=PATIENCE_S)
    assert "2/2 workers" in manager.wait_status("onnect", timeout_s=PATIENCE_S)
    assert not manager.said("READY")
    queue.server.start()
    manager.wait("READY", timeout_s=PATIENCE_S)


def test_the_status_line_shows_how_fast_it_goes_and_what_waits(
    queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket
) -> None:
    daemon = start_daemon(environment=manager.environment())
    queue.warm_up("quick", 500)
    eventually(lambda: any(jobs_per_s(line) > 0 for line in manager.said("STATUS")), PATIENCE_S)
    jobs = [queue.push("hold", "gate") for _ in range(4)]
    assert "2 jobs in hand" in manager.wait_status("oldest ", timeout_s=PATIENCE_S)
    queue.open_gate("gate")
    queue.all_ended(jobs)
    eventually(lambda: "oldest" not in manager.said("STATUS")[-1], PATIENCE_S)
    assert daemon.alive


def test_a_drain_asks_for_as_long_as_it_may_take(
    queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket
) -> None:
    daemon = start_daemon(drain_s=600, environment=manager.environment())
    job = queue.push("hold", "gate")
    queue.run(job)
    daemon.term()
    assert "draining" in manager.wait("STOPPING", timeout_s=PATIENCE_S)["STATUS"]
    eventually(lambda: int(manager.said("EXTEND_TIMEOUT_USEC")[-1]) / 1e6 > 500, PATIENCE_S)
    queue.open_gate("gate")
    assert daemon.wait(PATIENCE_S) == 0
