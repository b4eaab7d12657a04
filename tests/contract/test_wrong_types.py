"""What a key of the wrong type may do to a batch: fail its own job, and nothing else. On every store."""

import pytest

from support.jobs import OUTCOME, QUEUE, bury, fetched, finish, pending_ids, readd, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import SettleReply


@pytest.mark.parametrize("where", ["result", "dead", "scheduled"])
async def test_a_key_of_the_wrong_type_fails_its_job_alone_and_is_never_overwritten(store: Store, where: str) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        before, bad, after = await fetched(session, client, b"1", b"2", b"3")
        key = keys.result(QUEUE, bad.entry_id) if where == "result" else getattr(keys, where)(QUEUE)
        client.rpush(key, "somebody else's")
        how = {"result": finish(bad), "dead": bury(bad), "scheduled": readd(bad, due_ms=5)}[where]
        reply = await session.settle(QUEUE, [finish(before), how, finish(after)])
    [(entry_id, error)] = reply.failed
    assert entry_id == bad.entry_id
    assert "WRONGTYPE" in error
    assert key in error
    assert pending_ids(client) == stream_ids(client) == [bad.entry_id]
    assert client.lrange(key, 0, -1) == [b"somebody else's"]
    assert client.exists(keys.result(QUEUE, before.entry_id), keys.result(QUEUE, after.entry_id)) == 2


async def test_a_dead_job_whose_result_cannot_be_written_gets_no_dead_letter_yet(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.rpush(keys.result(QUEUE, entry.entry_id), "wrong")
        for _ in range(2):
            assert len((await session.settle(QUEUE, [bury(entry)])).failed) == 1
        assert not client.exists(keys.dead(QUEUE))
        client.delete(keys.result(QUEUE, entry.entry_id))
        assert await session.settle(QUEUE, [bury(entry)]) == SettleReply()
    assert client.xlen(keys.dead(QUEUE)) == 1


async def test_a_failed_job_settles_once_the_key_is_out_of_the_way(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.set(keys.dead(QUEUE), "wrong")
        assert len((await session.settle(QUEUE, [bury(entry)])).failed) == 1
        client.delete(keys.dead(QUEUE))
        assert await session.settle(QUEUE, [bury(entry)]) == SettleReply()
    assert client.xlen(keys.dead(QUEUE)) == 1


async def test_a_reply_key_of_the_wrong_type_harms_only_that_reply(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.set(keys.reply(QUEUE, "me"), "wrong")
        reply = await session.settle(QUEUE, [finish(entry, reply_to="me")])
    assert reply == SettleReply(lost_replies=1)
    assert client.get(keys.reply(QUEUE, "me")) == b"wrong"
    assert client.get(keys.result(QUEUE, entry.entry_id)) == OUTCOME
    assert stream_ids(client) == []


async def test_a_reply_goes_to_a_stream_that_exists_and_makes_none(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        one, other = await fetched(session, client, b"1", b"2")
        client.xadd(keys.reply(QUEUE, "here"), {"w": ""})
        batch = [finish(one, reply_to="here", result_ttl_s=0.0), finish(other, reply_to="gone")]
        assert await session.settle(QUEUE, batch) == SettleReply()
    assert [fields for _, fields in client.xrange(keys.reply(QUEUE, "here"))] == [{b"w": b""}, {b"m": OUTCOME}]
    assert not client.exists(keys.reply(QUEUE, "gone"))
    assert not client.exists(keys.result(QUEUE, one.entry_id))


async def test_claims_of_the_wrong_type_are_left_alone(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        for key in (keys.seen(QUEUE, "job"), keys.unique(QUEUE, "u")):
            client.rpush(key, "wrong")
        reply = await session.settle(QUEUE, [finish(entry, job_id="job", has_producer_id=True, unique="u")])
    assert reply == SettleReply()
    assert client.type(keys.seen(QUEUE, "job")) == client.type(keys.unique(QUEUE, "u")) == b"list"
