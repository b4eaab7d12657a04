"""The list of daemons: what each shows of itself, and that nobody stays on it who is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.waiting import eventually
from workd import AsyncClient, Client
from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server
    from workd.client.daemons import DaemonInfo


@pytest.fixture
def queue(server: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(server, tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def daemon(queue: FaultQueue, **settings: object) -> DaemonProcess:
    chosen: dict[str, Any] = {"workers": 2, "lease_s": 2} | settings
    return DaemonProcess(queue.server.url, queue.folder, **chosen)


def the_only(client: Client, **fields: object) -> DaemonInfo:
    """Wait until there is one daemon, with these fields."""

    def found() -> DaemonInfo | None:
        listed = client.daemons()
        fits = len(listed) == 1 and all(getattr(listed[0], name) == value for name, value in fields.items())
        return listed[0] if fits else None

    info = eventually(found)
    assert info is not None
    return info


def test_a_daemon_shows_what_it_is_and_what_it_does_until_it_has_left(queue: FaultQueue, client: Client) -> None:
    assert client.daemons() == []
    with daemon(queue, queues="default,images") as running:
        running.wait_ready()
        info = the_only(client, state="running", workers_ready=2)
        assert (info.id, info.pid, info.version) == (running.daemon_id, running.pid, version("workd"))
        assert (info.queues, info.workers, info.running) == (("default", "images"), 2, ())
        assert info.started_at <= info.at <= time.time() + 1
        handle = client.enqueue("hold", "gate")
        run = queue.run(handle.id)
        [job] = the_only(client, jobs_in_hand=1).running
        assert (job.id, job.task, job.queue, job.pid) == (handle.id, "hold", "default", run.pid)
        assert abs(job.since - run.at) < 1.0
        running.term()
        the_only(client, state="draining", jobs_in_hand=1)
        queue.open_gate("gate")
        assert running.wait() == 0
        assert client.daemons() == []
        assert not queue.client.exists(keys.DAEMONS, keys.daemon(info.id))


def test_one_that_is_killed_is_off_the_list_within_its_lease(queue: FaultQueue, client: Client) -> None:
    with daemon(queue) as first, daemon(queue) as second:
        first.wait_ready()
        second.wait_ready()
        eventually(lambda: len(client.daemons()) == 2)
        first.kill()
        assert the_only(client).id == second.daemon_id


def test_keys_of_another_type_in_its_places_stay_and_do_not_disturb_its_work(queue: FaultQueue, client: Client) -> None:
    queue.client.set(keys.DAEMONS, "mine")
    with daemon(queue) as running:
        running.wait_ready()
        running.wait_log("this daemon can't be shown on the list of daemons; its work goes on")
        assert client.enqueue("quick", 3).get(timeout=20) == 3
        running.term()
        assert running.wait() == 0
        assert len(running.log("this daemon can't be shown on the list of daemons; its work goes on")) == 1
    assert queue.client.get(keys.DAEMONS) == b"mine"


def test_what_others_write_there_is_no_daemon(queue: FaultQueue, client: Client) -> None:
    queue.client.zadd(keys.DAEMONS, {"gone": 1, "rubbish": 2, b"\xff": 3})
    queue.client.set(keys.daemon("rubbish"), "[]")
    assert client.daemons() == []


async def test_the_asynchronous_client_sees_the_same(queue: FaultQueue) -> None:
    with daemon(queue) as running:
        running.wait_ready()
        async with AsyncClient(queue.server.url) as client:
            assert [info.id for info in await client.daemons()] == [running.daemon_id]


def test_the_command_lists_them(queue: FaultQueue) -> None:
    assert status(queue) == (1, "DAEMON\tSTATE\tWORKERS\tJOBS\tENDED\tDEAD\tCRASHES\tUP\tSEEN\tVERSION\tQUEUES\n")
    with daemon(queue) as running, Client(queue.server.url) as client:
        running.wait_ready()
        the_only(client, state="running", workers_ready=2)
        code, said = status(queue)
        assert code == 0
        assert said.splitlines()[1].split("\t")[:3] == [running.daemon_id, "running", "2/2"]
        code, said = status(queue, "--json")
        assert (code, json.loads(said)[0]["id"]) == (0, running.daemon_id)


def status(queue: FaultQueue, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "workd", "status", *words, "--redis-url", queue.server.url]
    roots = os.pathsep.join(dict.fromkeys(path for path in sys.path if path))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": roots}, timeout=30
    )
    return done.returncode, done.stdout + done.stderr
