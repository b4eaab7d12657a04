"""Hooks in the workers of a real daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.waiting import eventually
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

MODULES = ("support.hook_tasks",)
ASYNC_MODULES = ("support.async_hook_tasks",)


@pytest.fixture
def queue(valkey: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(valkey, tmp_path)
    yield queue
    queue.close()


def daemon_of(queue: FaultQueue, modules: tuple[str, ...] = MODULES, **settings: object) -> DaemonProcess:
    return DaemonProcess(queue.server.url, queue.folder, modules=modules, **settings)  # type: ignore[arg-type]


def said(queue: FaultQueue) -> list[tuple[int, str]]:
    """Return who said what, in order."""
    path = queue.folder / "hooks"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), word) for pid, _, word in (line.partition(" ") for line in lines)]


def words(queue: FaultQueue, pid: int) -> list[str]:
    return [word for who, word in said(queue) if who == pid]


def test_each_worker_is_prepared_once_and_cleans_up_when_the_daemon_ends(queue: FaultQueue) -> None:
    with daemon_of(queue, workers=2) as daemon:
        daemon.wait_ready()
        pids = daemon.wait_workers(2)
        jobs = [queue.push("connection") for _ in range(10)]
        assert all(outcome["value"] is True for outcome in queue.all_ended(jobs).values())
        daemon.term()
        assert daemon.wait() == 0
        assert {pid for pid, _ in said(queue)} == set(pids)
        for pid in pids:
            assert words(queue, pid)[0] == "start"
            assert words(queue, pid)[-2:] == ["stop", "stopped"]


def test_a_worker_that_is_replaced_cleans_up_and_one_that_dies_does_not(queue: FaultQueue) -> None:
    with daemon_of(queue, workers=1, worker_max_jobs=1, max_crashes=1) as daemon:
        daemon.wait_ready()
        (first,) = daemon.wait_workers(1)
        queue.succeeded(queue.push("say", "hello"))
        eventually(lambda: words(queue, first) == ["start", "before say", "after say", "stop", "stopped"])
        (second,) = daemon.wait_workers(1, without=first)
        queue.dead_letter(queue.push("die"))
        daemon.wait_workers(1, without=second)
        assert words(queue, second) == ["start", "before die"]


def test_a_worker_that_takes_too_long_to_clean_up_is_killed(queue: FaultQueue) -> None:
    (queue.folder / "slow-stop").touch()
    with daemon_of(queue, workers=1) as daemon:
        daemon.wait_ready()
        (pid,) = daemon.wait_workers(1)
        daemon.term()
        assert daemon.wait() == 0
        assert words(queue, pid) == ["start", "stop"]


def test_a_worker_that_cannot_be_prepared_is_a_boot_failure_with_its_traceback(queue: FaultQueue) -> None:
    (queue.folder / "no-connection").touch()
    with daemon_of(queue, workers=1) as daemon:
        assert daemon.wait() == Exit.BOOT
        (line,) = daemon.log("a worker could not start")
        assert line["cause"].startswith("ConnectionRefusedError: the database is not there")
        assert "in connect" in line["traceback"]


@pytest.mark.parametrize("tasks", [("is_in_its_loop", "plain", "is_in_its_loop"), ("plain",), ()])
def test_coroutine_functions_prepare_a_worker_and_clean_up_in_the_loop_of_its_coroutines(
    queue: FaultQueue, tasks: tuple[str, ...]
) -> None:
    with daemon_of(queue, ASYNC_MODULES, workers=1) as daemon:
        daemon.wait_ready()
        (pid,) = daemon.wait_workers(1)
        for name in tasks:
            queue.succeeded(queue.push(name), value=True)
        daemon.term()
        assert daemon.wait() == 0
        assert words(queue, pid) == ["start", "connected True", "stop True True"]


def test_a_coroutine_function_that_cannot_prepare_a_worker_is_a_boot_failure_with_its_traceback(
    queue: FaultQueue,
) -> None:
    (queue.folder / "no-connection").touch()
    with daemon_of(queue, ASYNC_MODULES, workers=1) as daemon:
        assert daemon.wait() == Exit.BOOT
        (line,) = daemon.log("a worker could not start")
        assert line["cause"].startswith("ConnectionRefusedError: the database is not there")
        assert "in connect" in line["traceback"]


def test_hooks_are_called_around_tasks_and_one_that_fails_is_named(queue: FaultQueue) -> None:
    with daemon_of(queue, workers=1) as daemon:
        daemon.wait_ready()
        (pid,) = daemon.wait_workers(1)
        queue.succeeded(queue.push("say", "hello"), value="hello")
        assert json.loads(queue.dead_letter(queue.push("say", "raise"))["error"])["type"] == "KeyError"
        error = json.loads(queue.dead_letter(queue.push("say", "break the hook"))["error"])
        assert error["type"] == "HookError"
        assert error["message"].startswith("the hook value (")
        assert words(queue, pid) == [
            *("start", "before say", "after say"),
            *("before say", "failed KeyError"),
            "before say",  # and `failed` lies within the hook that is broken, so that it heard of a success
        ]


def test_a_task_knows_its_queue_its_times_and_what_was_given_along(queue: FaultQueue) -> None:
    with daemon_of(queue, workers=1, queues="other,default") as daemon:
        daemon.wait_ready()
        job = queue.push("look", meta={"user": "zoë"})
        told = queue.succeeded(job)["value"]
        assert (told["queue"], told["meta"]) == ("default", {"user": "zoë"})
        assert told["enqueued_at"] == int(job.partition("-")[0]) / 1000
        assert 0 < told["remaining_s"] <= 20
