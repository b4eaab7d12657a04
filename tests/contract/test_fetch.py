"""What reading promises, on every store, as far as it does not block."""

from support.jobs import QUEUE, STREAM, fetched, push, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.entries import Entry
from workd.retry import Counters


async def test_a_fresh_entry_is_read_as_it_was_written(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry_id] = push(client, b"\x00\xffraw")
        assert await session.fetch([QUEUE], 1, 0) == [
            Entry(
                queue=QUEUE,
                entry_id=entry_id,
                message=b"\x00\xffraw",
                fields=None,
                id=None,
                counters=Counters(),
                enqueued_ms=int(entry_id.split("-")[0]),
                signature=None,
            )
        ]


async def test_fields_that_a_stranger_filled_with_nonsense_do_no_harm(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.xadd(STREAM, {"m": "1", "n": "a lot", "t": "yesterday", "id": b"\xff"}, id="7-1")
        client.xadd(STREAM, {"m": "1", "n": "-1 0 0 0", "t": ""}, id="7-2")
        one, two = await session.fetch([QUEUE], 2, 0)
    assert (one.counters, one.enqueued_ms, one.id) == (Counters(), 7, "\\xff")
    assert (two.counters, two.enqueued_ms, two.id) == (Counters(), 7, None)


async def test_no_more_than_asked_for_and_in_order_of_arrival(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        push(client, *(str(n) for n in range(5)))
        assert [e.message for e in await session.fetch([QUEUE], 2, 0)] == [b"0", b"1"]
        assert [e.message for e in await session.fetch([QUEUE], 9, 0)] == [b"2", b"3", b"4"]
        assert await session.fetch([QUEUE], 9, 0) == []
        push(client, b"5")
        assert await session.fetch([QUEUE], 0, 0) == []


async def test_several_queues_are_read_in_the_order_given_and_counted_together(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    async with store.session() as session:
        for queue in ("first", "second"):
            await session.register(queue)
            for n in range(3):
                client.xadd(keys.stream(queue), {"m": f"{queue} {n}"})
        queues = ["first", "second"]
        got = [[(e.queue, e.message) for e in await session.fetch(queues, 4, 0)] for _ in range(3)]
    assert got == [
        [("first", b"first 0"), ("first", b"first 1"), ("first", b"first 2"), ("second", b"second 0")],
        [("second", b"second 1"), ("second", b"second 2")],
        [],
    ]


async def test_of_no_queue_there_is_nothing_to_fetch(store: Store) -> None:
    """As when the only one is paused between the look for room and the read."""
    async with store.session() as session:
        await session.register(QUEUE)
        push(store.client(), b"1")
        assert await session.fetch([], 1, 0) == await session.fetch([], 1, 50) == []


async def test_history_gives_what_is_pending_and_unknown_and_counts_no_delivery(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        push(client, b"lost")
        client.xreadgroup(keys.GROUP, "me", {STREAM: ">"}, count=1)  # a read whose reply was lost
        [known] = await fetched(session, client, b"in flight")
        push(client, b"not read yet")
        for _ in range(2):
            [entry] = await session.history(QUEUE, lambda entry_id: entry_id == known.entry_id)
            assert (entry.message, entry.counters) == (b"lost", Counters())
    assert len(stream_ids(client)) == 3


async def test_history_goes_through_all_pages(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, *(str(n) for n in range(2_100)))
        known = {entry.entry_id for entry in entries[:1_500]}
        assert await session.history(QUEUE, known.__contains__) == entries[1_500:]
        assert await session.history(QUEUE, lambda _: True) == []


async def test_history_of_another_daemon_is_none_of_ours_and_of_a_deleted_stream_is_empty(store: Store) -> None:
    client = store.client()
    async with store.session("other") as other, store.session() as session:
        await other.register(QUEUE)
        await fetched(other, client, b"1")
        assert await session.history(QUEUE, lambda _: False) == []
        client.delete(STREAM)
        assert await other.history(QUEUE, lambda _: False) == []


async def test_an_entry_taken_over_more_than_once_tells_it_in_its_history(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        for _ in range(2):
            client.xclaim(STREAM, keys.GROUP, "me", 0, [entry.entry_id])
        [again] = await session.history(QUEUE, lambda _: False)
        assert again.counters == Counters(takeovers=2)


async def test_interrupting_with_nothing_blocked_and_pinging_work_everywhere(store: Store) -> None:
    async with store.session() as session:
        await session.register(QUEUE)
        await session.interrupt()
        assert await session.fetch([QUEUE], 1, 60_000) == []
        await session.ping()
        assert abs(await session.now_ms() - await session.now_ms()) < 1_000
