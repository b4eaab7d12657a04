"""What the options of `@task` do to jobs of a real daemon."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.servers import Server, valkey_binary
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = ("support.option_tasks",)
LATE_S = 3.0  # the limit of its tasks


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultQueue, DaemonProcess]]:
    """One daemon on a server of its own, for all that needs no daemon of a special kind."""
    folder = tmp_path_factory.mktemp("options")
    with Server(valkey_binary()) as server, DaemonProcess(server.url, folder, modules=MODULES) as daemon:
        daemon.wait_ready()
        queue = FaultQueue(server, folder)
        yield queue, daemon
        queue.close()


@pytest.fixture
def queue(served: tuple[FaultQueue, DaemonProcess]) -> FaultQueue:
    return served[0]


def error_of(letter: dict[str, bytes]) -> dict[str, str]:
    error: dict[str, str] = json.loads(letter["error"])
    return error


def test_a_soft_timeout_lets_the_task_clean_up_uses_a_retry_and_is_dead_by_timeout(queue: FaultQueue) -> None:
    job = queue.push("soft")
    letter = queue.dead_letter(job)
    assert (letter["reason"], letter["attempts"]) == (b"timeout", b"2")
    assert error_of(letter)["type"] == "SoftTimeout"
    assert len(queue.runs(job, "cleaned up")) == 2
    assert {run.pid for run in queue.runs(job)} == {run.pid for run in queue.runs(job, "cleaned up")}


def test_a_task_may_make_do_with_what_it_has_when_its_time_is_up(queue: FaultQueue) -> None:
    queue.succeeded(queue.push("thrifty"), value="half")


def test_a_job_that_grows_over_its_memory_limit_is_killed_alone(queue: FaultQueue) -> None:
    neighbour = queue.push("hold", "memory-gate")
    kept = queue.run(neighbour)
    letter = queue.dead_letter(queue.push("swell"))
    assert letter["reason"] == b"crashed"
    assert error_of(letter)["type"] == "MemoryLimit"
    queue.open_gate("memory-gate")
    queue.succeeded(neighbour, value=kept.pid, deliveries=1)


def test_one_huge_allocation_is_an_exception_in_the_task(queue: FaultQueue) -> None:
    letter = queue.dead_letter(queue.push("gulp"))
    assert (letter["reason"], error_of(letter)["type"]) == (b"failed", "MemoryError")


@pytest.mark.parametrize(("what", "attempts"), [("os", 3), ("file", 1), ("value", 1)])
def test_only_the_exceptions_that_the_task_names_are_retried(queue: FaultQueue, what: str, attempts: int) -> None:
    job = queue.push("picky", what)
    letter = queue.dead_letter(job)
    assert (letter["reason"], int(letter["attempts"])) == (b"failed", attempts)
    assert len(queue.runs(job)) == attempts


def test_a_task_has_a_limit_of_crashes_of_its_own(queue: FaultQueue) -> None:
    job = queue.push("fragile")
    assert queue.dead_letter(job)["reason"] == b"crashed"
    assert len(queue.runs(job)) == 1


def test_a_task_asks_for_another_run_or_refuses_its_job(queue: FaultQueue) -> None:
    queue.succeeded(queue.push("ask", True), value=2, attempts=2)
    letter = queue.dead_letter(queue.push("ask", False))
    assert (letter["reason"], error_of(letter)["message"]) == (b"rejected", "not this one")


def test_at_most_one_job_of_a_unique_task_with_equal_arguments_is_there(queue: FaultQueue) -> None:
    first = queue.push("only_one", "unique-gate")
    queue.run(first)
    by_name = queue.push("only_one", kwargs={"gate": "unique-gate"})
    queue.ended(by_name, status="cancelled", attempts=0)
    assert queue.outcome(by_name)["error"]["type"] == "duplicate"
    other = queue.push("only_one", "unique-gate", kwargs={"note_it": False})
    queue.open_gate("unique-gate")
    queue.succeeded(first)
    queue.succeeded(other)
    queue.succeeded(queue.push("only_one", "unique-gate"), deliveries=1)


def test_what_was_queued_for_too_long_is_expired_and_a_retry_is_no_late_start(
    queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    holders = [queue.push("hold", "late-gate") for _ in range(2)]
    for holder in holders:
        queue.run(holder)
    perishable, prompt = queue.push("perishable"), queue.push("prompt")
    eventually(lambda: set(queue.pending()) == set(holders))  # handed back, after a second without a free slot
    pushed_s = time.monotonic()
    eventually(lambda: time.monotonic() > pushed_s + LATE_S)
    queue.open_gate("late-gate")
    expired, late = queue.ended(perishable, status="expired"), queue.ended(prompt, status="expired")
    assert (expired["error"]["type"], late["error"]["type"]) == ("Expired", "NotStartedInTime")
    assert not queue.runs(prompt)
    queue.succeeded(queue.push("prompt", True), value=2)
    eventually(lambda: len(served[1].log("a job expired before it started")) == 2)


def test_a_scheduled_job_has_its_time_from_when_it_was_due(queue: FaultQueue) -> None:
    started = queue.client.time()
    queue.succeeded(queue.push("prompt", run_at=started[0] + started[1] / 1e6 + LATE_S + 1), value=1)
