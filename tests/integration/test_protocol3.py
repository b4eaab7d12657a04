"""RESP3, where the URL asks for it: a daemon, its control channel and all kinds of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from support.daemons import DaemonProcess
from support.waiting import eventually
from workd import AsyncClient, Client, RedisPool
from workd.broker import keys
from workd.errors import JobCancelledError
from workd_tasks import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server


@pytest.fixture
def url(server: Server) -> str:
    """A server's address over TCP, where redis-py would ask it for notices of its maintenance."""
    return f"{server.url}?protocol=3"


@pytest.fixture
def daemon(url: str, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon on two queues."""
    modules, queues = ("workd_tasks.samples",), "default,urgent"
    with DaemonProcess(url, tmp_path, modules=modules, queues=queues, lease_s=60, cancel_grace_s=0) as process:
        process.wait_ready()
        yield process
        process.term()
        assert process.wait() == 0
        assert len(process.log("connected to Redis")) == 1  # nothing came that nobody had asked for


def test_jobs_and_results_of_two_queues(url: str, server: Server, daemon: DaemonProcess) -> None:
    with server.client() as looking:
        assert {row["resp"] for row in looking.client_list() if row["name"].startswith("workd:")} == {"3"}
    with Client(url) as client, RedisPool(client) as pool:
        for queue in ("default", "urgent"):
            assert client.with_options(queue=queue).enqueue(samples.square, 4).get(timeout=20) == 16
        assert pool.map(samples.square, range(50)) == [n * n for n in range(50)]
        eventually(lambda: client.core.replies.live)


async def test_the_same_with_an_event_loop(url: str, daemon: DaemonProcess) -> None:
    async with AsyncClient(url) as client:
        assert await (await client.enqueue(samples.square, 4)).get(timeout=20) == 16


def test_a_cancellation_is_heard_of_at_once(url: str, daemon: DaemonProcess) -> None:
    """By the control channel, whose messages are pushes in RESP3: the next renewal is 20 s away."""
    with Client(url) as client, redis.Redis.from_url(url) as connection:
        eventually(lambda: connection.pubsub_numsub(keys.CONTROL)[0][1])  # the daemon listens
        handle = client.enqueue(samples.sleep, 60)
        eventually(lambda: handle.status() == "running")
        handle.cancel()
        with pytest.raises(JobCancelledError):
            handle.get(timeout=20)
