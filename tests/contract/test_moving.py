"""What the scheduled jobs and the inbox promise, on every store."""

import pytest

from support.jobs import QUEUE, STREAM, fetched, push, readd, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import Admit, Admitted, MoveReply
from workd.errors import BrokerError, WrongKeyTypeError
from workd.retry import Counters

SCHEDULED = keys.scheduled(QUEUE)
INBOX = keys.inbox(QUEUE)
COUNTERS = Counters(attempts=1, crashes=2, takeovers=3, handbacks=4, unknown_since_ms=1_700_000_000, suspicions=5)


async def test_a_scheduled_job_comes_back_when_it_is_due_as_it_was(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        raw = b'12:3:{"task":"x"}\x00\xff:' * 3
        client.xadd(STREAM, {"m": raw, "s": b"1:sig:\x00"})
        [entry] = await session.fetch([QUEUE], 1, 0)
        soon_ms = await session.now_ms() + 150
        await session.settle(QUEUE, [readd(entry, job_id="jöb:1", counters=COUNTERS, due_ms=soon_ms)])
        assert stream_ids(client) == []
        assert await session.move_due(QUEUE) == MoveReply(0, soon_ms)
        while not (await session.move_due(QUEUE)).moved:
            pass
        assert await session.now_ms() >= soon_ms
        [again] = await session.fetch([QUEUE], 1, 0)
    assert (again.id, again.message, again.signature) == ("jöb:1", raw, b"1:sig:\x00")
    assert (again.counters, again.enqueued_ms) == (COUNTERS, entry.enqueued_ms)
    assert not client.exists(SCHEDULED)


async def test_two_equal_messages_for_the_same_time_are_two_jobs(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        one, two = await fetched(session, client, b"same", b"same")
        await session.settle(QUEUE, [readd(one, due_ms=5), readd(two, due_ms=5)])
        assert client.zcard(SCHEDULED) == 2
        assert await session.move_due(QUEUE) == MoveReply(2, None)
        assert {e.id for e in await session.fetch([QUEUE], 10, 0)} == {one.entry_id, two.entry_id}


async def test_a_move_is_bounded_by_count_and_by_bytes_and_goes_in_order_of_time(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, *(str(n) for n in range(200)))
        await session.settle(QUEUE, [readd(e, due_ms=1_000 - n) for n, e in enumerate(entries)])
        assert await session.move_due(QUEUE, limit=120) == MoveReply(120, 1_000 - 79)
        assert (await session.move_due(QUEUE)).moved == 80
        messages = [e.message for e in await session.fetch([QUEUE], 200, 0)]
        assert messages == [str(n).encode() for n in reversed(range(200))]
        client.zadd(SCHEDULED, {f"{n}" * (3 << 20): 1 for n in range(4)})
        assert (await session.move_due(QUEUE)).moved == 3


@pytest.mark.parametrize(
    ("score", "due_ms"),
    [("-inf", 0), ("-5", 0), ("-0.5", 0), ("0", 0), ("1.5", 2), ("1e300", None), ("+inf", None)],
)
async def test_a_score_that_is_no_time_is_due_now_or_never(store: Store, score: str, due_ms: int | None) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.execute_command("ZADD", SCHEDULED, score, "by hand")
        assert (await session.takeover(QUEUE)).next_due_ms == due_ms
        reply = await session.settle(QUEUE, [readd(entry, due_ms=8_000_000_000_000)])
        assert reply.next_due_ms == (8_000_000_000_000 if due_ms is None else due_ms)
        client.zremrangebyscore(SCHEDULED, 8_000_000_000_000, 8_000_000_000_000)
        assert await session.move_due(QUEUE, limit=0) == MoveReply(0, due_ms)
        assert await session.move_due(QUEUE) == MoveReply(0 if due_ms is None else 1, None)


async def test_a_member_that_is_not_ours_is_moved_as_a_message(store: Store) -> None:
    client = store.client()
    strange = [b'{"task":"square"}', b"900:0:0 0 0 0:5:short", b"", b"1:1:1 1 1 1"]
    async with store.session() as session:
        await session.register(QUEUE)
        client.zadd(SCHEDULED, {member: n for n, member in enumerate(strange)})
        assert await session.move_due(QUEUE) == MoveReply(4, None)
        entries = await session.fetch([QUEUE], 10, 0)
    assert [(entry.message, entry.id) for entry in entries] == [(member, None) for member in strange]


async def test_a_job_that_was_cancelled_while_scheduled_is_cancelled_when_it_comes_back(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        await session.settle(QUEUE, [readd(entry, due_ms=1)])
        client.set(keys.cancel(QUEUE, entry.entry_id), "", ex=5)
        await session.move_due(QUEUE)
        assert client.ttl(keys.cancel(QUEUE, entry.entry_id)) > 3_000
        [again] = await session.fetch([QUEUE], 1, 0)
        admit = Admit(again.entry_id, again.id or "", has_producer_id=False)
        assert await session.admit(QUEUE, [admit]) == [Admitted.CANCELLED]


async def test_the_inbox_is_moved_in_order_and_in_bounded_steps(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        assert await session.move_inbox(QUEUE) == 0
        client.rpush(INBOX, *(str(n) for n in range(1_500)))
        assert await session.move_inbox(QUEUE) == 1_000
        assert client.llen(INBOX) == 500
        assert await session.move_inbox(QUEUE) == 500
        messages = [entry.message for entry in await session.fetch([QUEUE], 2_000, 0)]
    assert messages == [str(n).encode() for n in range(1_500)]


async def test_large_messages_leave_the_inbox_eight_mib_at_a_time_and_a_huge_one_alone(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.rpush(INBOX, *(str(n) * (3 << 20) for n in range(4)), "x" * (9 << 20), "last")
        steps = []
        while moved := await session.move_inbox(QUEUE):
            steps.append(moved)
    assert steps == [3, 2, 1]


async def test_what_the_stream_refuses_stays_in_the_inbox(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.rpush(INBOX, "a", "b")
        client.xadd(STREAM, {"m": "last"}, id="18446744073709551615-18446744073709551615")
        with pytest.raises(BrokerError):
            await session.move_inbox(QUEUE)
    assert client.lrange(INBOX, 0, -1) == [b"a", b"b"]


@pytest.mark.parametrize("place", [STREAM, INBOX])
async def test_an_inbox_or_stream_of_the_wrong_type_is_named(store: Store, place: str) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.rpush(INBOX, "a")
        client.delete(place)
        client.set(place, "wrong")
        with pytest.raises(WrongKeyTypeError) as caught:
            await session.move_inbox(QUEUE)
    assert caught.value.key == place


async def test_what_the_stream_refuses_stays_scheduled(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.zadd(SCHEDULED, {"a": 1})
        client.delete(STREAM)
        client.set(STREAM, "wrong")
        with pytest.raises(WrongKeyTypeError):
            await session.move_due(QUEUE)
    assert client.zrange(SCHEDULED, 0, -1) == [b"a"]


async def test_a_job_pushed_to_the_inbox_is_like_any_other(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.rpush(INBOX, "from the inbox")
        await session.move_inbox(QUEUE)
        push(client, "from the stream")
        entries = await session.fetch([QUEUE], 10, 0)
    assert [entry.message for entry in entries] == [b"from the inbox", b"from the stream"]
    assert all(entry.id is None and entry.counters == Counters() for entry in entries)
