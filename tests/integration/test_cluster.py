"""A daemon on queues that live on three nodes of a Cluster, and what happens when one of the nodes goes."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import redis

from support.acknowledged import Acknowledged
from support.daemons import DaemonProcess
from support.waiting import eventually, eventually_async
from workd import Client, step
from workd.broker import keys
from workd.broker.session import Session
from workd.client.admin import Admin
from workd.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_sets import Cluster
    from workd.client.handle import Handle

QUEUES = ("default", "mail", "urgent")  # each in another third of the slots
AGAIN_S = 15.0


def kill_master(cluster: Cluster, key: str) -> None:
    master = cluster.node_of(key)
    master.kill()
    cluster.wait_for_another(key, master)


def fail_over(cluster: Cluster, key: str) -> None:
    cluster.fail_over(key)


def client_of(cluster: Cluster, queue: str) -> Callable[[], redis.Redis]:
    return partial(cluster.client, keys.stream(queue))


@pytest.fixture
def daemon(cluster: Cluster, tmp_path: Path) -> DaemonProcess:
    """A daemon on all three queues; the test starts it."""
    names = ",".join(QUEUES)
    return DaemonProcess(cluster.url, tmp_path, modules=("workd_tasks.samples",), queues=names, inbox_queues=names)


def test_the_queues_of_these_tests_are_on_three_nodes(cluster: Cluster) -> None:
    assert len({cluster.node_of(keys.stream(queue)).port for queue in QUEUES}) == 3


@pytest.mark.parametrize("how", [fail_over, kill_master])
def test_a_failover_in_the_middle_of_the_work_loses_no_job_that_was_replicated(
    cluster: Cluster, daemon: DaemonProcess, how: Callable[[Cluster, str], None]
) -> None:
    jobs = {queue: Acknowledged(client_of(cluster, queue), queue) for queue in QUEUES}
    with daemon:
        daemon.wait_ready()
        for sender in jobs.values():
            sender.send(50)
        how(cluster, keys.stream("mail"))
        cluster.make_whole()
        for sender in jobs.values():
            sender.send(50)
            eventually(sender.all_ended, timeout_s=AGAIN_S)
            sender.check_each_ended_once()
        daemon.term()
        assert daemon.wait() == 0
    for queue in QUEUES:
        with cluster.client(keys.leases(queue)) as client:
            assert client.hgetall(keys.leases(queue)) == {}


def test_a_node_that_hangs_stops_its_own_queue_and_no_other(cluster: Cluster, daemon: DaemonProcess) -> None:
    others = {queue: Acknowledged(client_of(cluster, queue), queue) for queue in ("default", "urgent")}
    with daemon:
        daemon.wait_ready()
        hung = cluster.node_of(keys.stream("mail"))
        hung.pause()
        try:
            for _ in range(3):
                for jobs in others.values():
                    jobs.send(20)
                    eventually(jobs.all_ended)
        finally:
            hung.kill()
        alone = {tuple(line["queues"]) for line in daemon.log("connected to Redis")[3:]}
        assert alone <= {("mail",)}  # no other queue had to connect again


def test_jobs_of_all_queues_come_by_the_inbox_as_well(cluster: Cluster, daemon: DaemonProcess) -> None:
    with daemon:
        daemon.wait_ready()
        for queue in QUEUES:
            with cluster.client(keys.inbox(queue)) as client:
                pushed = {"task": "square", "args": [5], "result_ttl": 60, "id": "pushed"}
                client.rpush(keys.inbox(queue), json.dumps(pushed))
                assert eventually(partial(client.get, keys.result(queue, "pushed")))


def test_a_chain_goes_from_node_to_node_and_waits_for_one_that_is_away(cluster: Cluster, tmp_path: Path) -> None:
    with (
        DaemonProcess(
            cluster.url, tmp_path, modules=("workd_tasks.samples",), queues="default,mail,urgent", lease_s=2
        ) as daemon,
        Client(cluster.url, deadline_s=AGAIN_S) as client,
    ):
        daemon.wait_ready()
        steps = (step("square", 3), *(step("square").with_options(queue=queue) for queue in ("mail", "urgent")))
        assert client.enqueue_chain(*steps).get(timeout=AGAIN_S) == 3**8
        away = cluster.node_of(keys.stream("mail"))
        away.kill()
        handle = client.enqueue_chain(*steps)
        assert client.enqueue("square", 5).get(timeout=AGAIN_S) == 25  # its queue goes on meanwhile
        cluster.wait_for_another(keys.stream("mail"), away)
        assert handle.get(timeout=2 * AGAIN_S) == 3**8


async def test_a_queue_that_moves_to_another_node_is_looked_for_anew(cluster: Cluster) -> None:
    url = cluster.url
    session = await Session.open(url, "me", 15.0, queue="mail")
    await session.register("mail")
    cluster.fail_over(keys.stream("mail"))
    with pytest.raises(BrokerUnavailableError, match=r"MOVED|READONLY"):
        await session.takeover("mail")
    await session.close()
    lease_kept: bool = await eventually_async(partial(_register_anew, url))
    assert lease_kept  # it went with the queue


def test_a_queue_is_moved_to_another_node_and_back_under_load_and_each_job_ends_once(
    cluster: Cluster, daemon: DaemonProcess
) -> None:
    here = cluster.node_of(keys.stream("mail"))
    there = next(node for node in cluster.masters() if node is not here)
    handles: list[Handle[int]] = []
    enough = threading.Event()

    def produce(client: Client) -> None:
        while not enough.is_set():
            handles.append(client.enqueue("square", len(handles)))

    with daemon, Client(cluster.url, queue="mail", deadline_s=AGAIN_S) as client:
        daemon.wait_ready()
        producer = threading.Thread(target=produce, args=(client,))
        producer.start()
        try:
            for target in (there, here):
                cluster.move(keys.stream("mail"), target)
                assert client.enqueue("square", 5).get(timeout=AGAIN_S) == 25
        finally:
            enough.set()
            producer.join()
        values = [handle.get(timeout=2 * AGAIN_S) for handle in handles]
        assert values == [number * number for number in range(len(handles))]
        outcomes = [handle.outcome() for handle in handles]
        assert {outcome.deliveries for outcome in outcomes} == {1}
        with cluster.client(keys.stream("mail")) as looking:
            assert eventually(lambda: looking.xlen(keys.stream("mail")) == 0)
    cluster.wait_ready()


async def _register_anew(url: str) -> bool:
    """Register in a new session, as a daemon does: nodes hear of a failover one by one, and an old map leads astray."""
    session = await Session.open(url, "me", 15.0, queue="mail")
    try:
        return await session.register("mail")
    except BrokerUnavailableError:
        return False
    finally:
        await session.close()


async def test_a_slot_on_its_way_is_waited_for(cluster: Cluster) -> None:
    """While a slot is being moved, its keys are here and there: ASK and TRYAGAIN."""
    session = await Session.open(cluster.url, "me", 15.0, queue="mail")
    await session.register("mail")
    with cluster.moving(keys.stream("mail")), pytest.raises(BrokerUnavailableError, match=r"ASK|TRYAGAIN"):
        await session.register("mail")
    assert await session.register("mail")
    await session.close()


async def test_a_cluster_without_its_slots_is_waited_for(cluster: Cluster) -> None:
    """CLUSTERDOWN, as every node says while a part of the slots has no master."""
    session = await Session.open(cluster.url, "me", 15.0, queue="mail")
    with cluster.client(keys.stream("mail")) as client:
        slot = client.execute_command("CLUSTER", "KEYSLOT", keys.stream("mail"))
        client.execute_command("CLUSTER", "DELSLOTS", slot)
        try:
            with pytest.raises(BrokerUnavailableError, match="CLUSTERDOWN"):
                await session.register("mail")
        finally:
            client.execute_command("CLUSTER", "ADDSLOTS", slot)
    await session.close()
    with suppress(redis.RedisError):
        cluster.make_whole()


async def test_a_server_that_is_no_cluster_is_told_apart(cluster: Cluster, valkey_url: str) -> None:
    with pytest.raises(BrokerUnavailableError, match="cluster support disabled"):
        await Session.open(f"redis+cluster://{valkey_url}", "me", 15.0, queue="mail")


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest) -> str:
    """Where a server listens that is alone."""
    return f"127.0.0.1:{request.getfixturevalue('valkey').port}"


def test_queues_are_found_on_all_nodes_and_moved_from_one_to_the_other(cluster: Cluster) -> None:
    mail, urgent = client_of(cluster, "mail")(), client_of(cluster, "urgent")()
    mail.xadd(keys.stream("mail"), {"m": '{"task":"square","args":[1]}'})
    urgent.rpush(keys.inbox("urgent"), '{"task":"square","args":[2]}')
    with Admin(cluster.url) as admin:
        assert admin.queues.names() == ["mail", "urgent"]
        assert admin.queues.move("mail", "urgent").queued == 1
        assert [(state.name, state.queued, state.inbox) for state in admin.queues.all()][-1] == ("urgent", 1, 1)
    [(_, fields)] = urgent.xrange(keys.stream("urgent"))  # type: ignore[misc]
    assert fields is not None
    assert fields[b"m"] == b'{"task":"square","args":[1]}'
