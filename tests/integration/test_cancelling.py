"""Cancelling through the clients and the command line, in each state that a job can be in, with a real daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import QUEUE, FaultQueue
from support.servers import Server, valkey_binary
from support.waiting import eventually, eventually_async
from workd import AsyncClient, Client
from workd.broker import keys
from workd.errors import InvalidJobError, JobCancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASKS = ("support.fault_tasks", "support.stop_tasks")
LEASE_S = 60  # far more than a test takes: what comes quicker than a third of it came by the control channel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("daemon")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Server]:
    """A server with one daemon, whose lease is long."""
    with (
        Server(valkey_binary()) as server,
        DaemonProcess(server.url, folder, modules=TASKS, workers=2, lease_s=LEASE_S, cancel_grace_s=0.2) as daemon,
    ):
        daemon.wait_ready()
        yield server


@pytest.fixture
def queue(running: Server, folder: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue.__new__(FaultQueue)  # without its reply stream, which is there from the test before
    queue.server, queue.folder, queue.client = running, folder, running.client()
    yield queue
    queue.close()


@pytest.fixture
def client(running: Server) -> Iterator[Client]:
    with Client(running.url) as client:
        yield client


def gate(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def test_a_queued_job_is_cancelled_before_any_daemon_has_seen_it(valkey: Server) -> None:
    with Client(valkey.url) as client:
        first, second = client.enqueue("quick", 1), client.with_options(id="mine").enqueue("quick", 2)
        assert (first.cancel(), second.cancel()) == ("cancelled", "cancelled")
        assert (first.status(), second.status()) == ("cancelled", "cancelled")
        with pytest.raises(JobCancelledError, match="cancelled before it started"):
            first.get(timeout=20)
        with pytest.raises(JobCancelledError):
            second.get(timeout=20)
        assert (first.cancel(), client.cancel("mine"), client.cancel("nobody")) == ("ended", "ended", "unknown")


def test_a_job_for_next_week_is_cancelled_now(client: Client, queue: FaultQueue) -> None:
    later = client.with_options(delay_s=7 * 86_400)
    plain, named = later.enqueue("quick", 1), later.with_options(id="next week", unique="one").enqueue("quick", 2)
    eventually(lambda: queue.client.zcard(keys.scheduled(QUEUE)) == 2)
    assert (plain.cancel(), client.cancel("next week")) == ("cancelled", "cancelled")
    assert queue.client.zcard(keys.scheduled(QUEUE)) == 0
    for handle in (plain, named):
        with pytest.raises(JobCancelledError):
            handle.get(timeout=20)
    assert client.with_options(unique="one").enqueue("quick", 3).get(timeout=20) == 3


def test_a_running_job_that_listens_ends_by_itself(client: Client, queue: FaultQueue) -> None:
    handle = client.enqueue("listen")
    queue.run(handle.id)
    assert handle.cancel() == "asked"
    with pytest.raises(JobCancelledError, match="ended by itself"):
        handle.get(timeout=20)
    assert handle.cancel() == "ended"


def test_a_running_job_that_does_not_listen_is_killed_and_its_neighbour_goes_on(
    client: Client, queue: FaultQueue, request: pytest.FixtureRequest
) -> None:
    neighbour, deaf = client.enqueue("hold", gate(request)), client.enqueue("deaf", "never")
    for handle in (neighbour, deaf):
        queue.run(handle.id)
    assert client.cancel(deaf.id) == "asked"
    with pytest.raises(JobCancelledError, match="the run was stopped"):
        deaf.get(timeout=20)
    queue.open_gate(gate(request))
    assert neighbour.outcome(timeout=10).deliveries == 1


def test_a_job_that_waits_in_a_buffer_is_cancelled_at_once(
    client: Client, queue: FaultQueue, request: pytest.FixtureRequest
) -> None:
    client.enqueue_many("step", [()] * 200)[-1].get(timeout=20)  # the daemon learns to buffer them
    blockers = [client.enqueue("step", gate(request)) for _ in range(2)]
    for blocker in blockers:
        queue.run(blocker.id)
    waiting = client.enqueue("step")
    eventually(lambda: waiting.id in queue.pending())
    assert waiting.cancel() == "asked"
    with pytest.raises(JobCancelledError):
        waiting.get(timeout=20)
    assert not queue.runs(waiting.id)
    queue.open_gate(gate(request))
    for blocker in blockers:
        assert blocker.outcome(timeout=10).status == "succeeded"


def test_a_job_that_is_named_before_it_is_fetched_never_runs(client: Client, queue: FaultQueue) -> None:
    assert client.cancel("named before") == "unknown"
    with pytest.raises(JobCancelledError):
        client.with_options(id="named before").enqueue("quick", 1).get(timeout=20)
    assert not queue.runs("named before")


async def test_the_asynchronous_client_says_the_same(running: Server, queue: FaultQueue) -> None:
    async with AsyncClient(running.url) as client:
        handle = await client.enqueue("listen")
        await eventually_async(lambda: bool(queue.runs(handle.id)))
        assert await handle.cancel() == "asked"
        with pytest.raises(JobCancelledError):
            await handle.get(timeout=20)
        assert (await handle.cancel(), await client.cancel(handle.id)) == ("ended", "ended")
        assert await client.cancel("no trace of it") == "unknown"
        with pytest.raises(InvalidJobError, match="id: ''"):
            await client.cancel("")


def workd(running: Server, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "workd", "cancel", *words, "--redis-url", running.url]
    roots = os.pathsep.join(dict.fromkeys(path for path in sys.path if path))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": roots}, timeout=30
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_says_what_came_of_it(running: Server, client: Client, queue: FaultQueue) -> None:
    handle = client.enqueue("listen")
    queue.run(handle.id)
    code, said = workd(running, handle.id)
    assert (code, said) == (0, f"job {handle.id} is being stopped by its daemon\n")
    assert handle.outcome(timeout=10).status == "cancelled"
    code, said = workd(running, handle.id, "--json")
    answer: dict[str, Any] = json.loads(said)
    assert (code, answer) == (1, {"id": handle.id, "queue": "default", "answer": "ended"})
    code, said = workd(running, "nobody", "--queue", "other")
    assert code == 1
    assert "no trace of job nobody in queue other" in said
