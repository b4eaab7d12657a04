"""The control channel of a real daemon: it makes things quicker, and nothing depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.waiting import eventually
from workd import Client
from workd.broker import keys
from workd.client.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

TASKS = ("support.fault_tasks", "support.stop_tasks")


@pytest.fixture
def queue(server: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(server, tmp_path)
    yield queue
    queue.close()


def daemon(queue: FaultQueue, url: str = "", **settings: object) -> DaemonProcess:
    chosen: dict[str, Any] = {"workers": 1, "cancel_grace_s": 0.2, "modules": TASKS} | settings
    return DaemonProcess(url or queue.server.url, queue.folder, **chosen)


def listeners(queue: FaultQueue) -> int:
    [(_, count)] = queue.client.pubsub_numsub(keys.CONTROL)
    return int(count)


def subscribers(queue: FaultQueue) -> set[str]:
    return {row["id"] for row in queue.client.client_list(_type="pubsub")}


def test_rubbish_on_the_channel_harms_nothing_and_a_command_after_it_is_obeyed(queue: FaultQueue) -> None:
    with daemon(queue, lease_s=60) as running, Client(queue.server.url) as client:
        running.wait_ready()
        eventually(lambda: listeners(queue) == 1)
        for rubbish in (b"", b"garbage", b"\xff" * 10_000, b'{"v":1,"do":"cancel","queue":"other","id":"1"}'):
            queue.client.publish(keys.CONTROL, rubbish)
        handle = client.enqueue("listen")
        queue.run(handle.id)
        assert handle.cancel() == "asked"
        assert handle.outcome(timeout=10).status == "cancelled"


def test_a_channel_that_is_cut_comes_back_and_the_session_is_not_disturbed(queue: FaultQueue) -> None:
    with daemon(queue, lease_s=60) as running, Client(queue.server.url) as client:
        running.wait_ready()
        eventually(lambda: listeners(queue) == 1 and len(subscribers(queue)) == 2)  # the other one is for questions
        before = subscribers(queue)
        queue.client.client_kill_filter(_type="pubsub")
        eventually(lambda: len(subscribers(queue) - before) == 2 and listeners(queue) == 1)
        handle = client.enqueue("listen")
        queue.run(handle.id)
        assert handle.cancel() == "asked"
        assert handle.outcome(timeout=10).status == "cancelled"
        assert len(running.log("connected to Redis")) == 1
        with Admin(queue.server.url) as admin:
            assert admin.fleet.ping(wait_s=30.0).ok


def test_a_daemon_that_may_not_listen_hears_of_it_at_its_next_renewal(queue: FaultQueue) -> None:
    queue.client.acl_setuser(
        "deaf", enabled=True, nopass=True, reset=True, keys=["*"], commands=["+@all"], channels=["nothing"]
    )
    try:
        url = queue.server.url.replace("redis://", "redis://deaf:any@")
        with daemon(queue, url, lease_s=1) as running, Client(queue.server.url) as client:
            running.wait_ready()
            line = running.wait_log("the control channel is not there; a cancelled job is stopped at a renewal")
            assert "NOPERM" in line["error"] or "permission" in line["error"]
            handle = client.enqueue("listen")
            queue.run(handle.id)
            assert handle.cancel() == "asked"
            assert handle.outcome(timeout=10).status == "cancelled"
            assert listeners(queue) == 0
            with Client(url) as mute:  # nor may this one publish
                second = mute.enqueue("listen")
                queue.run(second.id)
                assert second.cancel() == "asked"
                assert second.outcome(timeout=10).status == "cancelled"
    finally:
        queue.client.acl_deluser("deaf")
