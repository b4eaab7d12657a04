"""A Redis at its `maxmemory`: the queue that filled it can be drained. On real servers: fakeredis has no limit."""

from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

from support.caring import dead_letters
from support.jobs import OUTCOME, QUEUE, STREAM, bury, fetched, finish, pending_ids, push, readd, settled_in, stream_ids
from support.stores import Store
from workd.broker import faults, keys
from workd.broker.ops import Admit, Admitted, MoveReply, RenewReply, SettleReply
from workd.errors import BrokerUnavailableError, ServerUnavailableError

INBOX, SCHEDULED = keys.inbox(QUEUE), keys.scheduled(QUEUE)
BLOCK = b"x" * 32_768


def fill(client: Any) -> int:
    """Enqueue until Redis refuses, and return how many it took."""
    limit = int(client.info("memory")["used_memory"]) + (4 << 20)
    client.config_set("maxmemory", limit)
    for count in range(10_000):
        try:
            push(client, BLOCK)
        except OutOfMemoryError:
            client.config_set(
                "maxmemory", limit - (1 << 20)
            )  # so that it stays full when a connection's buffer shrinks
            return count
    pytest.fail("the memory was never full")


def assert_full(client: Any) -> None:
    with pytest.raises(OutOfMemoryError):
        push(client, b"one more")


async def test_a_queue_that_has_filled_the_memory_is_drained_by_a_daemon_that_starts_then(real_store: Store) -> None:
    client = real_store.client()
    count = fill(client)
    async with real_store.session() as session:
        assert await session.register(QUEUE) is False
        assert await session.renew(QUEUE, []) == RenewReply(fenced=False)
        done = 0
        while entries := await session.fetch([QUEUE], 7, 0):
            if not done:
                assert_full(client)
            named = [Admit(entry.entry_id, entry.entry_id, has_producer_id=True) for entry in entries]
            assert set(await session.admit(QUEUE, named)) == {Admitted.RUN}
            batch = [finish(entry, has_producer_id=True) for entry in entries]
            assert await session.settle(QUEUE, batch) == SettleReply()
            done += len(entries)
        assert done == count > 50
    assert stream_ids(client) == []
    assert len(client.keys(keys.result(QUEUE, "*"))) == count
    push(client, BLOCK)


async def test_every_kind_of_settlement_can_be_recorded_in_a_full_memory(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        kept, dead, again, later, plain = await fetched(session, client, b"1", b"2", b"3", b"4", b"5")
        client.config_set("maxmemory", 1)
        batch = [finish(kept), bury(dead), readd(again), readd(later, due_ms=9), finish(plain, outcome=None)]
        assert await session.settle(QUEUE, batch) == SettleReply(next_due_ms=9)
        assert_full(client)
    assert pending_ids(client) == []
    assert client.get(keys.result(QUEUE, kept.entry_id)) == OUTCOME
    assert (client.xlen(keys.dead(QUEUE)), client.xlen(STREAM), client.zcard(SCHEDULED)) == (1, 1, 1)


async def test_jobs_are_taken_over_and_a_daemon_leaves_in_a_full_memory(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session("gone") as gone, real_store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        [entry] = await fetched(gone, client, b"1")
        client.hdel(keys.leases(QUEUE), "gone")
        await settled_in(here)
        client.config_set("maxmemory", 1)
        reply = await here.takeover(QUEUE)
        assert [taken.entry_id for taken in reply.entries] == [entry.entry_id]
        assert await gone.taken(QUEUE, [entry.entry_id]) == [entry.entry_id]
        assert [known.entry_id for known in await here.history(QUEUE, lambda _: False)] == [entry.entry_id]
        await here.settle(QUEUE, [bury(entry)])
        assert await here.trim_dead(QUEUE, 1, 3600.0) == 1
        assert await here.depart(QUEUE) is True
        assert_full(client)


async def test_a_group_that_is_gone_is_made_again_in_a_full_memory(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        client.delete(STREAM)
        push(client, b"1")
        client.config_set("maxmemory", 1)
        assert [entry.message for entry in await session.fetch([QUEUE], 1, 0)] == [b"1"]
        assert_full(client)


async def test_what_is_due_and_the_inbox_are_moved_in_a_full_memory(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        client.zadd(SCHEDULED, {"due": 1})
        client.rpush(INBOX, "in the inbox")
        client.config_set("maxmemory", 1)
        assert await session.move_due(QUEUE) == MoveReply(1, None)
        assert await session.wait_inbox(QUEUE, 5.0) is True
        assert await session.move_inbox(QUEUE) == 1
        assert await session.wait_inbox(QUEUE, 0.01) is False
        assert_full(client)
        client.config_set("maxmemory", 0)
        assert [entry.message for entry in await session.fetch([QUEUE], 9, 0)] == [b"due", b"in the inbox"]
        assert await session.wait_inbox(QUEUE, 0.01) is False


async def test_what_a_full_memory_refuses_all_the_same_is_no_fault_of_ours(real_store: Store) -> None:
    client = real_store.client()
    client.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError) as refused:
        push(client, b"1")
    error = faults.told(refused.value, "redis://h/0", "moving")
    assert isinstance(error, BrokerUnavailableError)
    assert "OOM" in str(error)


async def test_dead_letters_can_be_purged_from_a_full_memory_and_are_not_replayed_into_it(real_store: Store) -> None:
    client, letters = real_store.client(), dead_letters(real_store)
    ids = [client.xadd(keys.dead(QUEUE), {"m": "1", "id": f"job-{number}"}).decode() for number in range(2)]
    client.config_set("maxmemory", 1)
    with pytest.raises(ServerUnavailableError, match="nothing was changed"):
        letters.replay(QUEUE, ids[0])
    assert client.xlen(keys.dead(QUEUE)) == 2
    assert letters.purge_all(QUEUE).done == 2
    assert not client.exists(STREAM)
