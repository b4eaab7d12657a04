"""Cancelling chains and groups by their id, wherever they are, with a real daemon on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import group_tasks as t
from support.daemons import DaemonProcess
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd import AsyncClient, Client, group, step
from workd.broker import keys
from workd.errors import JobCancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one daemon on it, that serves two queues."""
    directory = tmp_path_factory.mktemp("daemon")
    modules, queues = ("support.group_tasks",), "default,images"
    with (
        Server(valkey_binary()) as server,
        DaemonProcess(server.url, directory, modules=modules, queues=queues, lease_s=1.5, cancel_grace_s=0.2) as daemon,
    ):
        daemon.wait_ready()
        yield server
        daemon.term()
        assert daemon.wait() == 0


@pytest.fixture
def client(running: Server) -> Iterator[Client]:
    """A producer."""
    with Client(running.url) as client:
        yield client


def exists(running: Server, key: str) -> None:
    with running.client() as connection:
        eventually(lambda: connection.exists(key))


def test_one_with_an_id_of_its_own_is_cancelled_by_it_and_the_id_is_good_for_another_later(
    client: Client, running: Server, tmp_path: Path
) -> None:
    never = str(tmp_path / "never")
    work = step(t.double, 1).with_options(id="mine").after(t.wait_for, never).then(t.double)
    handle = client.enqueue_chain(work)
    exists(running, keys.seen("default", "mine.1"))
    assert client.cancel("mine") == "asked"
    with pytest.raises(JobCancelledError, match="step 2 of 3"):
        handle.get(20)
    assert client.cancel("mine") == "ended"
    with running.client() as connection:
        # An hour later:
        connection.delete(keys.seen("default", "mine"), keys.seen("default", "mine.1"), keys.result("default", "mine"))
    (tmp_path / "never").touch()
    assert client.enqueue_chain(work).get(20) == 0


def test_a_step_in_another_queue_is_cancelled_by_the_id_in_the_chains_own(
    client: Client, running: Server, tmp_path: Path
) -> None:
    images = step(t.double, 1).after(t.wait_for, str(tmp_path / "never")).with_options(queue="images")
    handle = client.enqueue_chain(images.then(t.double))
    with running.client() as connection:  # the chain is there, and known to be: before that, its last step is meant
        eventually(lambda: b"> images" in (connection.get(keys.seen("default", handle.id)) or b""))
    assert handle.cancel() == "asked"
    with pytest.raises(JobCancelledError, match="step 2 of 3"):
        handle.get(20)
    assert handle.cancel() == "ended"


@pytest.mark.parametrize("queue", ["default", "images"])
def test_a_step_that_waits_for_its_time_is_cancelled_at_once(client: Client, running: Server, queue: str) -> None:
    handle = client.enqueue_chain(step(t.double, 1).then(t.double).with_options(delay_s=3600, queue=queue))
    with running.client() as connection:
        eventually(lambda: connection.zcard(keys.scheduled(queue)))
    assert handle.cancel() == "asked"
    with pytest.raises(JobCancelledError, match="step 2 of 2"):
        handle.get(20)


async def test_an_asynchronous_client_cancels_it_in_another_queue_too(running: Server) -> None:
    async with AsyncClient(running.url) as client:
        later = step(t.double, 1).then(t.double).with_options(delay_s=3600, queue="images")
        handle = await client.enqueue_chain(later)
        with running.client() as connection:
            eventually(lambda: connection.zcard(keys.scheduled("images")))
        assert await handle.cancel() == "asked"
        with pytest.raises(JobCancelledError, match="step 2 of 2"):
            await handle.get(20)


def test_members_of_a_cancelled_group_that_wait_for_their_time_are_cancelled_at_once(
    client: Client, running: Server
) -> None:
    other = client.with_options(delay_s=3600).enqueue(t.double, 1)
    members = [step(t.double, number).with_options(delay_s=3600) for number in range(300)]
    chained = step(t.double, 1).then(t.double).with_options(delay_s=3600)
    handle = client.enqueue_group(group(*members, chained, then=step(t.collect)))
    with running.client() as connection:
        eventually(lambda: connection.zcard(keys.scheduled("default")) == 302)
    handle.cancel()
    assert handle.callback is not None
    assert handle.callback.get(20)["failed"] == 301
    assert other.cancel() == "cancelled", "it was left alone"


async def test_an_asynchronous_client_cancels_such_members_too(running: Server) -> None:
    async with AsyncClient(running.url) as client:
        handle = await client.enqueue_group(group(step(t.double, 1).with_options(delay_s=3600)))
        with running.client() as connection:
            eventually(lambda: connection.zcard(keys.scheduled("default")))
        await handle.cancel()
        assert (await handle.summary(20)).failed == 1
