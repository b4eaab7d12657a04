"""What the daemon's settings do to its workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

MODULES = ("support.fault_tasks",)


@pytest.fixture
def queue(valkey: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(valkey, tmp_path)
    yield queue
    queue.close()


def test_a_worker_is_replaced_after_as_many_jobs_as_the_setting_says(queue: FaultQueue) -> None:
    with DaemonProcess(queue.server.url, queue.folder, modules=MODULES, workers=1, worker_max_jobs=2) as daemon:
        daemon.wait_ready()
        for number in range(6):
            queue.succeeded(queue.push("quick", number), value=number, deliveries=1)
        pids = [run.pid for run in queue.runs()]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_a_worker_is_replaced_when_it_is_old(queue: FaultQueue) -> None:
    with DaemonProcess(queue.server.url, queue.folder, modules=MODULES, workers=1, worker_max_age_s=0.2) as daemon:
        daemon.wait_ready()
        (first,) = daemon.wait_workers(1)
        queue.succeeded(queue.push("quick"))
        daemon.wait_workers(1, without=first)


def test_a_worker_is_replaced_when_it_has_grown(queue: FaultQueue) -> None:
    with DaemonProcess(
        queue.server.url, queue.folder, modules=("support.option_tasks",), workers=1, worker_max_growth_bytes="16M"
    ) as daemon:
        daemon.wait_ready()
        (first,) = daemon.wait_workers(1)
        queue.succeeded(queue.push("keep", 1), value=first)
        queue.succeeded(queue.push("keep", 32), value=first)
        daemon.wait_workers(1, without=first)


def test_a_worker_that_takes_too_long_to_start_is_given_up(queue: FaultQueue) -> None:
    (queue.folder / "slow-start").touch()
    with DaemonProcess(
        queue.server.url, queue.folder, modules=("support.hook_tasks",), workers=1, boot_timeout_s=5
    ) as daemon:
        assert daemon.wait() == Exit.BOOT
        assert "it was not ready within 5 s" in daemon.log_text()


def test_every_job_has_the_memory_limit_of_the_daemon(queue: FaultQueue) -> None:
    with DaemonProcess(
        queue.server.url, queue.folder, modules=("support.option_tasks",), memory_limit_bytes="48M"
    ) as daemon:
        daemon.wait_ready()
        error = json.loads(queue.dead_letter(queue.push("swell"))["error"])
        assert "over its memory limit of 48 MiB" in error["message"], "the task's own limit is 64 MiB"


def test_a_memory_limit_that_leaves_a_worker_no_room_is_told_at_the_start(queue: FaultQueue) -> None:
    with DaemonProcess(
        queue.server.url, queue.folder, modules=("support.option_tasks",), memory_limit_bytes="2M"
    ) as daemon:
        daemon.wait_ready()
        (line,) = daemon.log("a memory limit is less than a worker has before its first job: raise it")
        assert "die" in line["tasks"]
        assert line["worker_bytes"] > 2 * 1024 * 1024


def test_a_soft_timeout_that_never_comes_is_told_at_the_start(queue: FaultQueue) -> None:
    (queue.folder / "late_tasks.py").write_text(
        "from workd import task\n\n\n@task(soft_timeout=30)\ndef tidy() -> None: ...\n"
    )
    with DaemonProcess(queue.server.url, queue.folder, modules=("late_tasks",), timeout_s=20) as daemon:
        daemon.wait_ready()
        words = "a soft timeout never comes, since timeout_s ends the run before: give the task a timeout of its own"
        (line,) = daemon.log(words)
        assert (line["tasks"], line["timeout_s"]) == (["tidy"], 20)
    with DaemonProcess(queue.server.url, queue.folder, modules=("late_tasks",)) as daemon:
        daemon.wait_ready()
        assert not daemon.log(words)
