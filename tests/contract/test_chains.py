"""What chains promise, on every store: the next step is enqueued once, and the end is told under the chain's id."""

import pytest

from support.jobs import OUTCOME, QUEUE, bury, fetched, finish, pending_ids, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.kinship import Kin, Post
from workd.broker.ops import Admit, Admitted, SettleReply

NEXT = b'{"task":"b","id":"j.1","args":[123456789012345678901234567890]}'
HERE = Kin("j", following=NEXT)
STEP = Post(QUEUE, "j.1", NEXT)
END = Post(QUEUE, "j", outcome=OUTCOME, result_ttl_s=60.0, reply_to="me")


async def test_the_next_step_comes_in_the_script_that_settles_the_one_before_byte_for_byte(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        batch = [finish(entry, outcome=None, result_ttl_s=0.0, kin=HERE)]
        assert await session.settle(QUEUE, batch) == SettleReply()
        assert await session.settle(QUEUE, batch) == SettleReply(skipped=1)
        [following] = await session.fetch([QUEUE], 10, 0)
        assert await session.fetch([QUEUE], 10, 0) == []
    assert following.message == NEXT
    assert not client.exists(keys.result(QUEUE, entry.entry_id), keys.result(QUEUE, "j"))


async def test_the_end_is_kept_under_the_chains_id_and_the_steps_own_id_stays_taken(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        one, two = await fetched(session, client, b"1", b"2")
        await session.admit(QUEUE, [Admit(one.entry_id, "j.1", True), Admit(two.entry_id, "k.1", True)])
        ended = [
            finish(one, job_id="j.1", has_producer_id=True, kin=Kin("j")),
            bury(two, job_id="k.1", has_producer_id=True, kin=Kin("k")),
        ]
        assert await session.settle(QUEUE, ended) == SettleReply()
    assert client.mget(keys.result(QUEUE, "j"), keys.result(QUEUE, "k")) == [OUTCOME, OUTCOME]
    assert not client.exists(keys.result(QUEUE, "j.1"), keys.result(QUEUE, "k.1"))
    assert client.mget(keys.seen(QUEUE, "j.1"), keys.seen(QUEUE, "k.1")) == [b"done", b"done"]


async def test_a_step_that_came_twice_is_told_to_nobody(store: Store) -> None:
    client = store.client()
    client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.set(keys.seen(QUEUE, "j.1"), "1-1")
        await session.settle(
            QUEUE,
            [finish(entry, job_id="j.1", has_producer_id=True, duplicate=True, reply_to="me", kin=Kin("j"))],
        )
    assert client.xlen(keys.reply(QUEUE, "me")) == 1
    assert not client.exists(keys.result(QUEUE, "j"))
    assert stream_ids(client) == []


async def test_a_step_brought_into_another_queue_twice_is_there_once(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        assert [await session.post(STEP) for _ in range(3)] == ["", "", ""]
        await session.register(QUEUE)
        [entry] = await session.fetch([QUEUE], 10, 0)
        assert entry.message == NEXT
        assert await session.admit(QUEUE, [Admit(entry.entry_id, "j.1", True)]) == [Admitted.RUN]
        await session.settle(QUEUE, [finish(entry, job_id="j.1", has_producer_id=True, kin=Kin("j"))])
        assert await session.post(STEP) == ""
    assert stream_ids(client) == []


async def test_the_end_of_a_chain_is_told_in_the_queue_where_it_began(store: Store) -> None:
    client = store.client()
    client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
    async with store.session() as session:
        assert await session.post(END) == ""
        assert await session.post(END._replace(id="k", result_ttl_s=0.0, reply_to=None)) == ""
    assert client.get(keys.result(QUEUE, "j")) == OUTCOME
    assert 50_000 < client.pttl(keys.result(QUEUE, "j")) <= 60_000
    assert [fields.get(b"m") for _, fields in client.xrange(keys.reply(QUEUE, "me"))] == [None, OUTCOME]
    assert not client.exists(keys.result(QUEUE, "k"))


async def test_the_end_of_a_chain_is_told_once_for_each_run_of_its_last_step(store: Store) -> None:
    """A daemon may die between telling it and settling the step; a dead letter that is replayed ends the chain anew."""
    client = store.client()
    client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
    first = END._replace(chain="j", source="images 1-0")
    async with store.session() as session:
        assert [await session.post(first) for _ in range(2)] == ["", ""]
        assert await session.post(first._replace(outcome=b"late")) == ""
        assert client.get(keys.result(QUEUE, "j")) == OUTCOME
        assert await session.post(first._replace(outcome=b"replayed", source="images 2-0")) == ""
    assert client.get(keys.result(QUEUE, "j")) == b"replayed"
    told = [fields.get(b"m") for _, fields in client.xrange(keys.reply(QUEUE, "me"))]
    assert told == [None, OUTCOME, b"replayed"]
    assert 3_500_000 < client.pttl(f"workd:{{{QUEUE}}}:posted:j") <= keys.SEEN_MS


@pytest.mark.parametrize(
    ("post", "key"),
    [
        (STEP, keys.stream(QUEUE)),
        (STEP, keys.seen(QUEUE, "j.1")),
        (END, keys.result(QUEUE, "j")),
    ],
)
async def test_what_is_in_the_way_in_the_other_queue_is_named_and_not_overwritten(
    store: Store, post: Post, key: str
) -> None:
    client = store.client()
    client.rpush(key, "somebody else's")
    async with store.session() as session:
        assert (await session.post(post)).startswith(key)
    assert client.lrange(key, 0, -1) == [b"somebody else's"]
    assert client.keys("*") == [key.encode()]


async def test_a_daemon_without_a_lease_enqueues_no_next_step(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.hdel(keys.leases(QUEUE), "me")
        assert await session.settle(QUEUE, [finish(entry, kin=HERE)]) == SettleReply(fenced=True)
    assert stream_ids(client) == pending_ids(client) == [entry.entry_id]
