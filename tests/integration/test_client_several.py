"""Clients of a Sentinel set and of a Cluster: each command finds its server, also after a failover."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.waiting import eventually, eventually_async
from workd import AsyncClient, Client, RedisPool, SettingsError
from workd.broker import keys
from workd.errors import ServerUnavailableError
from workd_tasks import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.server_sets import Cluster, SentinelSet

QUEUES = ("default", "mail", "urgent")  # each in another third of a Cluster's slots
DEADLINE_S = 15.0  # a failover takes longer than the usual two seconds


@pytest.fixture(params=["sentinels", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Both kinds of several servers in turn."""
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def daemon(url: str, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon that is ready, on all queues."""
    with DaemonProcess(url, tmp_path, modules=("workd_tasks.samples",), queues=",".join(QUEUES)) as process:
        process.wait_ready()
        yield process


def test_jobs_of_all_queues_are_enqueued_and_their_results_come(url: str, daemon: DaemonProcess) -> None:
    with Client(url) as client:
        views = [client.with_options(queue=queue) for queue in QUEUES]
        handles = [view.enqueue(samples.square, number) for number, view in enumerate(views * 5)]
        assert [handle.get(timeout=20) for handle in handles] == [number * number for number in range(15)]
        many = [view.enqueue_many(samples.square, [(n,) for n in range(100)]) for view in views]
        assert [sum(handle.get(timeout=20) for handle in handles) for handles in many] == [328_350] * 3
        assert handles[0].status() == "succeeded"
        # By replies, not by asking again and again.
        eventually(lambda: client.core.replies.live == set(QUEUES))


async def test_the_same_with_an_event_loop(url: str, daemon: DaemonProcess) -> None:
    async with AsyncClient(url) as client:
        views = [client.with_options(queue=queue) for queue in QUEUES]
        handles = [await view.enqueue(samples.square, number) for number, view in enumerate(views * 5)]
        values = await asyncio.gather(*(handle.get(timeout=20) for handle in handles))
        assert values == [number * number for number in range(15)]
        await eventually_async(lambda: client.core.replies.live == set(QUEUES))


def test_a_pool_without_processes_maps_over_several_servers(url: str, daemon: DaemonProcess) -> None:
    with RedisPool(url, queue="mail") as pool:
        assert pool.map(samples.square, range(50)) == [n * n for n in range(50)]


@pytest.mark.parametrize("how", ["in peace", "by a crash"])
def test_a_client_of_a_cluster_goes_on_after_a_failover(cluster: Cluster, how: str) -> None:
    with Client(cluster.url, deadline_s=DEADLINE_S) as client:
        views = [client.with_options(queue=queue) for queue in QUEUES]
        for view in views:
            view.enqueue("nobody_runs_this")
        master = cluster.node_of(keys.stream("mail"))
        if how == "in peace":
            cluster.fail_over(keys.stream("mail"))
        else:
            master.kill()
        for view in views:
            view.enqueue("nobody_runs_this")
    with cluster.client(keys.stream("mail")) as looking:
        assert looking.xlen(keys.stream("mail")) >= 1  # of a crash, the last may not have been replicated
        newest = looking.xrevrange(keys.stream("mail"), count=1)
    assert newest


async def test_an_asynchronous_client_goes_on_after_a_failover(cluster: Cluster) -> None:
    async with AsyncClient(cluster.url, deadline_s=DEADLINE_S) as client:
        view = client.with_options(queue="mail")
        await view.enqueue("nobody_runs_this")
        cluster.fail_over(keys.stream("mail"))
        await view.enqueue("nobody_runs_this")
    with cluster.client(keys.stream("mail")) as looking:
        assert looking.xlen(keys.stream("mail")) == 2


def test_a_client_of_sentinels_sends_to_the_new_master_after_a_failover(sentinels: SentinelSet) -> None:
    with Client(sentinels.url, deadline_s=DEADLINE_S) as client:
        client.enqueue("nobody_runs_this")
        before = sentinels.master
        before.kill()
        client.enqueue("nobody_runs_this")  # within its deadline, with no attempt of ours
        assert eventually(lambda: sentinels.master is not before)  # the first of them may hear of it later than we
    with sentinels.client() as looking:
        assert looking.xlen(keys.stream("default")) >= 1


def test_results_come_after_a_failover_as_well(cluster: Cluster, tmp_path: Path) -> None:
    queues = ",".join(QUEUES)
    with (
        DaemonProcess(cluster.url, tmp_path, modules=("workd_tasks.samples",), queues=queues) as daemon,
        Client(cluster.url, deadline_s=DEADLINE_S) as client,
    ):
        daemon.wait_ready()
        view = client.with_options(queue="mail")
        assert view.enqueue(samples.square, 3).get(timeout=20) == 9
        cluster.fail_over(keys.stream("mail"))
        for number in range(20):
            assert view.enqueue(samples.square, number).get(timeout=20) == number * number


def test_nobody_there_is_an_error_that_names_the_seeds_and_not_the_password() -> None:
    for url in ("redis+cluster://me:secret@127.0.0.1:1,127.0.0.1:2", "redis+sentinel://:secret@127.0.0.1:1/mymaster"):
        with Client(url, deadline_s=0.3) as client, pytest.raises(ServerUnavailableError) as caught:
            client.enqueue("nobody_runs_this")
        assert "127.0.0.1:1" in str(caught.value)
        assert "was not sent" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis+sentinel://:secret@h", "redis+cluster://:secret@h,,h"])
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(SettingsError, match="redis_url") as caught:
            kind(url)
        assert "secret" not in str(caught.value)
