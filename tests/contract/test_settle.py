"""What settling promises, on every store."""

from support.jobs import (
    OUTCOME,
    QUEUE,
    STREAM,
    bury,
    expire_lease,
    fetched,
    finish,
    pending_ids,
    push,
    readd,
    settled_in,
    stream_ids,
)
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import Admit, Admitted, SettleReply
from workd.retry import Counters

RESULT_TTL_MS = 60_000


async def test_a_settled_job_is_out_of_the_stream_and_its_result_is_kept_for_its_time(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        assert await session.settle(QUEUE, [finish(entry)]) == SettleReply()
    assert (pending_ids(client), stream_ids(client)) == ([], [])
    result = keys.result(QUEUE, entry.entry_id)
    assert client.get(result) == OUTCOME
    assert RESULT_TTL_MS - 5_000 < client.pttl(result) <= RESULT_TTL_MS


async def test_a_result_that_nobody_asked_for_is_not_written(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, b"1", b"2")
        without = [finish(entries[0], outcome=None), finish(entries[1], result_ttl_s=0.0)]
        assert await session.settle(QUEUE, without) == SettleReply()
    assert sorted(client.keys()) == [keys.leases(QUEUE).encode(), STREAM.encode()]
    assert stream_ids(client) == []


async def test_a_batch_of_hundreds_is_settled_whole(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, *(str(n) for n in range(500)))
        assert await session.settle(QUEUE, [finish(entry) for entry in entries]) == SettleReply()
        assert (pending_ids(client), stream_ids(client)) == ([], [])
        assert await session.settle(QUEUE, []) == SettleReply()


async def test_entry_ids_that_producers_chose_are_settled_whatever_their_order_as_text(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        for entry_id in ("5-1", "20-1", "100-1"):
            client.xadd(STREAM, {"m": b"1"}, id=entry_id)
        entries = await session.fetch([QUEUE], 10, 0)
        assert await session.settle(QUEUE, [finish(entry) for entry in entries]) == SettleReply()
    assert (pending_ids(client), stream_ids(client)) == ([], [])


async def test_a_batch_that_is_sent_again_after_a_lost_reply_is_applied_once(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        done, dead, again, later = await fetched(session, client, b"1", b"2", b"3", b"4")
        client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
        batch = [finish(done, reply_to="me"), bury(dead), readd(again), readd(later, due_ms=1)]
        await session.settle(QUEUE, batch)
        client.delete(keys.result(QUEUE, done.entry_id))
        assert await session.settle(QUEUE, batch) == SettleReply(skipped=4)
    assert client.xlen(keys.dead(QUEUE)) == 1
    assert client.xlen(STREAM) == 1
    assert client.zcard(keys.scheduled(QUEUE)) == 1
    assert client.xlen(keys.reply(QUEUE, "me")) == 2
    assert not client.exists(keys.result(QUEUE, done.entry_id))


async def test_one_job_twice_in_a_batch_is_settled_once(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        assert (await session.settle(QUEUE, [readd(entry), readd(entry)])).skipped == 1
    assert client.xlen(STREAM) == 1


async def test_a_daemon_without_a_lease_settles_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.hdel(keys.leases(QUEUE), "me")
        assert await session.settle(QUEUE, [finish(entry)]) == SettleReply(fenced=True)
    assert pending_ids(client) == [entry.entry_id]
    assert not client.exists(keys.result(QUEUE, entry.entry_id))


async def test_a_late_finisher_changes_nothing_even_with_a_new_lease(store: Store) -> None:
    client = store.client()
    async with store.session("slow") as slow, store.session("quick") as quick:
        await slow.register(QUEUE)
        await quick.register(QUEUE)
        first, second, third = await fetched(slow, client, b"1", b"2", b"3")
        expire_lease(client, "slow")
        await settled_in(quick)
        assert len((await quick.takeover(QUEUE)).entries) == 3
        late = [finish(first, outcome=b"late"), bury(second), readd(third)]
        assert await slow.settle(QUEUE, late) == SettleReply(fenced=True)

        assert await slow.register(QUEUE) is False
        assert await slow.settle(QUEUE, late) == SettleReply(skipped=3)
        assert pending_ids(client, "quick") == [first.entry_id, second.entry_id, third.entry_id]
        assert not client.exists(keys.result(QUEUE, first.entry_id), keys.dead(QUEUE))
        assert len(stream_ids(client)) == 3

        assert await quick.settle(QUEUE, [finish(first, outcome=b"quick")]) == SettleReply()
        assert client.get(keys.result(QUEUE, first.entry_id)) == b"quick"


async def test_a_dead_letter_holds_the_message_byte_for_byte_and_why(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        raw = b'{"task":"square"}\x00\xff\r\n'
        client.xadd(STREAM, {"m": raw, "s": b"\x01sig"})
        [entry] = await session.fetch([QUEUE], 1, 0)
        now_s = await session.now_ms() / 1000
        await session.settle(QUEUE, [bury(entry, job_id="j", has_producer_id=True)])
    [(_, letter)] = client.xrange(keys.dead(QUEUE))
    assert abs(float(letter.pop(b"at")) - now_s) < 5
    assert letter == {
        b"m": raw,
        b"s": b"\x01sig",
        b"reason": b"failed",
        b"error": b'{"type":"ValueError"}',
        b"id": b"j",
        b"task": b"square",
        b"attempts": b"2",
        b"deliveries": b"3",
    }
    assert client.get(keys.result(QUEUE, "j")) == OUTCOME


async def test_an_entry_without_a_message_is_buried_with_its_fields(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.xadd(STREAM, {"x": b"\xff", "y": "ü"})
        [entry] = await session.fetch([QUEUE], 1, 0)
        assert (entry.message, entry.fields) == (None, {b"x": b"\xff", b"y": "ü".encode()})
        await session.settle(QUEUE, [bury(entry, entry_fields=entry.fields_json())])
    [(_, letter)] = client.xrange(keys.dead(QUEUE))
    assert (letter[b"m"], letter[b"entry"]) == (b"", '{"x": "\\\\xff", "y": "ü"}'.encode())


async def test_dead_letters_are_kept_up_to_the_limit(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        session._dead_max_entries = 100
        await session.register(QUEUE)
        entries = await fetched(session, client, *(str(n) for n in range(400)))
        await session.settle(QUEUE, [bury(entry) for entry in entries])
    assert client.xlen(keys.dead(QUEUE)) < 400


async def test_a_job_that_is_put_back_carries_its_id_counters_first_enqueue_and_signature(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.xadd(STREAM, {"m": b"\xffraw", "s": b"sig"})
        [entry] = await session.fetch([QUEUE], 1, 0)
        counters = Counters(attempts=1, crashes=2, takeovers=3, handbacks=4)
        assert await session.settle(QUEUE, [readd(entry, counters=counters)]) == SettleReply()
        [again] = await session.fetch([QUEUE], 1, 0)
    assert again.entry_id != entry.entry_id
    assert (again.id, again.message, again.signature) == (entry.entry_id, b"\xffraw", b"sig")
    assert (again.counters, again.enqueued_ms) == (counters, entry.enqueued_ms)
    assert stream_ids(client) == [again.entry_id]


async def test_settling_a_scheduled_job_answers_the_earliest_due_time(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        one, two = await fetched(session, client, b"1", b"2")
        batch = [readd(one, due_ms=9_000_000_000_000), readd(two, due_ms=8_000_000_000_000)]
        assert await session.settle(QUEUE, batch) == SettleReply(next_due_ms=8_000_000_000_000)


async def test_settling_after_the_stream_was_deleted_skips_and_does_not_fail(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.delete(STREAM)
        assert await session.settle(QUEUE, [finish(entry)]) == SettleReply(skipped=1)


async def test_an_id_stays_taken_for_an_hour_and_a_unique_is_free_at_once(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        admit = Admit(entry.entry_id, "job", has_producer_id=True, unique="u")
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        await session.settle(QUEUE, [finish(entry, job_id="job", has_producer_id=True, unique="u")])
    assert 3_590_000 < client.pttl(keys.seen(QUEUE, "job")) <= 3_600_000
    assert not client.exists(keys.unique(QUEUE, "u"))


async def test_claims_of_another_job_are_not_released(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.set(keys.seen(QUEUE, "job"), "1-1")
        client.set(keys.unique(QUEUE, "u"), "1-1 another")
        await session.settle(QUEUE, [finish(entry, job_id="job", has_producer_id=True, unique="u")])
    assert client.get(keys.seen(QUEUE, "job")) == b"1-1"
    assert client.get(keys.unique(QUEUE, "u")) == b"1-1 another"


async def test_two_queues_are_two_worlds(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        await session.register("other")
        push(client, b"1")
        assert await session.fetch(["other"], 1, 0) == []
        [entry] = await session.fetch([QUEUE], 1, 0)
        assert await session.settle("other", [finish(entry)]) == SettleReply(skipped=1)
        assert pending_ids(client) == [entry.entry_id]
