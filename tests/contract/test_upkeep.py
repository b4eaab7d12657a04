"""What a session can be asked beside the way of a job: what was taken from us, and trimming the dead letters."""

from support.jobs import QUEUE, bury, fetched, push
from support.stores import Store
from workd.broker import keys


async def test_what_is_still_pending_for_us_was_not_taken(store: Store) -> None:
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, store.client(), b"1", b"2")
        assert await session.taken(QUEUE, [entry.entry_id for entry in entries]) == []


async def test_what_another_daemon_has_or_has_ended_was_taken(store: Store) -> None:
    client = store.client()
    stream = keys.stream(QUEUE)
    async with store.session() as session:
        await session.register(QUEUE)
        ids = [entry.entry_id for entry in await fetched(session, client, b"1", b"2", b"3")]
        client.xclaim(stream, keys.GROUP, "another", 0, ids[:1])
        client.xack(stream, keys.GROUP, ids[1])
        assert await session.taken(QUEUE, ids) == ids[:2]


async def test_a_queue_that_was_deleted_leaves_nothing_to_us(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.delete(keys.stream(QUEUE))
        assert await session.taken(QUEUE, [entry.entry_id]) == [entry.entry_id]


async def test_dead_letters_beyond_the_age_go_the_oldest_first_and_are_counted(store: Store) -> None:
    client = store.client()
    client.xadd(keys.dead(QUEUE), {"m": "old"}, id="1-1")
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"new")
        await session.settle(QUEUE, [bury(entry)])
        assert await session.trim_dead(QUEUE, 2**30, 3600.0) == 1
        assert [fields[b"m"] for _, fields in client.xrange(keys.dead(QUEUE))] == [b"new"]
        assert await session.trim_dead(QUEUE, 2**30, 3600.0) == 0


async def test_dead_letters_beyond_the_size_go_where_the_server_can_tell_the_size(store: Store) -> None:
    client = store.client()
    for number in range(100):
        client.xadd(keys.dead(QUEUE), {"m": b"x" * 1000, "number": number})
    async with store.session() as session:
        trimmed = await session.trim_dead(QUEUE, 50_000, 3600.0)
    left = [fields[b"number"] for _, fields in client.xrange(keys.dead(QUEUE))]
    if store.name == "fakeredis":  # it has no MEMORY USAGE
        assert trimmed == 0
    else:
        assert 50 < trimmed < 80
        assert left == [b"%d" % number for number in range(trimmed, 100)]


async def test_trimming_where_there_are_no_dead_letters_makes_no_key(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        assert await session.trim_dead(QUEUE, 1, 1.0) == 0
    assert not client.exists(keys.dead(QUEUE))


async def test_a_takeover_pass_says_what_nobody_has_fetched_and_since_when(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        reply = await session.takeover(QUEUE)
        assert (reply.oldest_ms, reply.undelivered) == (None, 0)
        await fetched(session, client, b"with us")
        first, _ = push(client, b"1", b"2")
        reply = await session.takeover(QUEUE)
        assert reply.oldest_ms == int(first.partition("-")[0])
        assert reply.undelivered in (2, None)  # where entries were deleted, some servers cannot tell
        client.delete(keys.stream(QUEUE))
        assert (await session.takeover(QUEUE)).oldest_ms is None
