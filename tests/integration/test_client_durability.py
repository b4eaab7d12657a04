"""`durable=True`: a job counts as enqueued when it would outlast a crash of the server, and otherwise that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.clients import KINDS, AnyClient
from support.losing_proxy import LosingProxy
from support.server_sets import small_cluster, wait_for_slots
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd.broker import keys
from workd.errors import InvalidJobError, NotDurableError

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = keys.stream("default")
DURABLE: dict[str, Any] = {"durable": True}

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def safe() -> Iterator[Server]:
    """A server that keeps all it has on disk."""
    with Server(
        valkey_binary(), appendonly=True, extra=("--appendfsync", "always", "--repl-diskless-sync-delay", "0")
    ) as server:
        yield server


def queued(server: Server) -> list[str]:
    with server.client() as look:
        rows: Any = look.xrange(STREAM)
        return [entry_id.decode() for entry_id, _ in rows]


@both
async def test_a_durable_job_is_there_after_the_server_was_killed(kind: str, safe: Server) -> None:
    async with AnyClient(kind, safe.url, durable=True) as client:
        handle = await client.call("enqueue", "square", 1)
        handles = await client.call("enqueue_many", "square", [(2,), (3,)])
        safe.restart()
        assert queued(safe) == [handle.id, *(other.id for other in handles)]


@both
async def test_in_a_cluster_the_node_of_each_queue_confirms(kind: str) -> None:
    always = ("--appendfsync", "always")
    queues = ("default", "mail", "urgent")  # in both halves of the slots
    with small_cluster(valkey_binary(), [always, always]) as nodes:
        async with AnyClient(kind, f"redis+cluster://127.0.0.1:{nodes[0].port}", deadline_s=20.0) as client:
            for queue in queues:
                await client.call("enqueue", "square", 1, options={**DURABLE, "queue": queue})
        for node in nodes:
            node.restart()
        counts = []
        for node in nodes:
            wait_for_slots(node)
            with node.client() as look:
                names = [name.decode() for name in look.keys("*:stream")]
                counts.append(len(names))
                assert [look.xlen(name) for name in names] == [1] * len(names)
    assert sorted(counts) == [1, 2]


@both
async def test_a_server_without_a_file_is_told_before_anything_is_queued(kind: str, valkey: Server) -> None:
    async with AnyClient(kind, valkey.url) as client:
        with pytest.raises(NotDurableError, match=r"appendonly is off.*nothing was queued") as caught:
            await client.call("enqueue", "square", 1, options=DURABLE)
        assert caught.value.job_ids == ()
        assert queued(valkey) == []
        await client.call("enqueue", "square", 1)
        assert len(queued(valkey)) == 1


@both
async def test_a_server_that_is_too_old_is_told_before_anything_is_queued(kind: str, redis_server: Server) -> None:
    async with AnyClient(kind, redis_server.url) as client:
        with pytest.raises(NotDurableError, match=r"no WAITAOF: it needs Redis 7.2.*nothing was queued"):
            await client.call("enqueue_many", "square", [(1,)], options=DURABLE)
    assert queued(redis_server) == []


@both
async def test_a_disk_that_does_not_confirm_in_time_is_told_with_the_jobs_that_are_queued(
    kind: str, safe: Server
) -> None:
    async with AnyClient(kind, safe.url, deadline_s=0.3) as client:
        with safe.client() as admin:
            admin.config_set("appendfsync", "no")
        with pytest.raises(NotDurableError, match="queued all the same, do not send again") as caught:
            await client.call("enqueue", "square", 1, options=DURABLE)
        assert list(caught.value.job_ids) == queued(safe)
        with pytest.raises(NotDurableError) as named:
            await client.call("enqueue", "square", 1, options=DURABLE | {"id": "order-7"})
        assert named.value.job_ids == ("order-7",)


@both
async def test_a_file_that_was_switched_off_meanwhile_is_told_with_the_jobs_that_are_queued(
    kind: str, safe: Server
) -> None:
    async with AnyClient(kind, safe.url) as client:
        await client.call("enqueue", "square", 1, options=DURABLE)
        with safe.client() as admin:
            admin.config_set("appendonly", "no")
        with pytest.raises(NotDurableError, match=r"appendonly is off.*queued all the same") as caught:
            await client.call("enqueue", "square", 2, options=DURABLE)
        assert list(caught.value.job_ids) == queued(safe)[1:]


@both
async def test_replicas_are_waited_for(kind: str, safe: Server) -> None:
    replica = Server(valkey_binary(), extra=("--replicaof", "127.0.0.1", str(safe.port)))
    waiting = {"durable": True, "durable_replicas": 1}
    async with (
        AnyClient(kind, safe.url, deadline_s=10, **waiting) as patient,
        AnyClient(kind, safe.url, deadline_s=0.6, **waiting) as hasty,
    ):
        with pytest.raises(NotDurableError, match="0 of 1 replicas had it in time"):
            await hasty.call("enqueue", "square", 1)
        with replica, safe.client() as admin:
            eventually(lambda: "online" in str(admin.info("replication")), timeout_s=40)
            handle = await patient.call("enqueue", "square", 2)
            assert queued(replica)[-1] == handle.id
            replica.pause()
            with pytest.raises(NotDurableError, match="0 of 1 replicas had it in time"):
                await hasty.call("enqueue", "square", 3)


@both
async def test_a_connection_that_breaks_under_the_question_is_asked_again(kind: str, safe: Server) -> None:
    with LosingProxy(safe) as proxy:
        async with AnyClient(kind, proxy.url) as client:
            await client.call("enqueue", "square", 1, options=DURABLE)
            proxy.lose(1, b"WAITAOF")
            handle = await client.call("enqueue", "square", 2, options=DURABLE)
            assert proxy.carried == 1
            assert queued(safe)[1:] == [handle.id]
            proxy.lose(1, b"WAITAOF")
            with pytest.raises(NotDurableError, match="queued all the same") as caught:
                await client.call("enqueue", "square", 3, options=DURABLE | {"retries": 0})
            assert list(caught.value.job_ids) == queued(safe)[2:]


def test_replicas_alone_are_refused() -> None:
    with pytest.raises(InvalidJobError, match="durable_replicas: replicas are waited for with durable=True alone"):
        AnyClient("sync", "redis://127.0.0.1:1/0", durable_replicas=1)
