"""What groups promise, on every store: each member is counted once, and the group ends once."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from support.groups import GROUP, counted, enqueue, group_of, member, messages, outcome, past_deadline, send, written
from support.jobs import OUTCOME, QUEUE, expire_lease, fetched, finish, pending_ids, push, settled_in, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import Admit, Admitted, SettleReply
from workd.client import group_calls
from workd.client.groups import step

RECORD = keys.group(QUEUE, GROUP)
CALLBACK = {"then": step("collect", 7, name="x")}


async def test_the_last_member_enqueues_the_callback_in_the_script_that_settles_it(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(3, **CALLBACK))
        one, two, three = await session.fetch([QUEUE], 10, 0)
        assert await session.settle(QUEUE, [member(one, 0), member(two, 1, succeeded=False)]) == SettleReply()
        assert counted(client) == (1, 1)
        assert not client.exists(keys.result(QUEUE, GROUP))
        assert await session.settle(QUEUE, [member(three, 2)]) == SettleReply()
    summary = {"id": GROUP, "total": 3, "succeeded": 2, "failed": 1, "unfinished": 0, "sealed": True}
    assert outcome(client)["value"] == summary
    [callback] = messages(client)
    assert callback["args"] == [summary, 7]
    assert (callback["task"], callback["kwargs"], callback["id"]) == ("collect", {"name": "x"}, "g.end")
    assert client.zcard(keys.groups(QUEUE)) == 0


async def test_all_members_in_one_batch_end_the_group_once(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(200, **CALLBACK))
        entries = await session.fetch([QUEUE], 200, 0)
        await session.settle(QUEUE, [member(entry, number) for number, entry in enumerate(entries)])
    assert len(messages(client)) == 1
    assert outcome(client)["value"]["succeeded"] == 200


async def test_a_batch_that_is_sent_again_counts_nobody_twice(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(3, **CALLBACK))
        entries = await session.fetch([QUEUE], 10, 0)
        batch = [member(entry, number) for number, entry in enumerate(entries)]
        for _ in range(3):
            await session.settle(QUEUE, batch[:2])
        assert counted(client) == (2, 0)
        for _ in range(3):
            await session.settle(QUEUE, batch)
    assert len(messages(client)) == 1


async def test_a_member_that_ends_again_as_a_replayed_dead_letter_does_is_not_counted_again(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(2, **CALLBACK))
        one, two = await session.fetch([QUEUE], 10, 0)
        await session.settle(QUEUE, [member(one, 0, succeeded=False)])
        [again] = await fetched(session, client, one.message or b"")
        await session.settle(QUEUE, [member(again, 0)])
        assert counted(client) == (0, 1)
        assert messages(client) == [{"task": "square", "result_ttl": 3600.0, "args": [1]} | _place(1)]
        await session.settle(QUEUE, [member(two, 1)])
    assert len(messages(client)) == 1


def _place(index: int) -> dict[str, Any]:
    return {"reply_to": "r", "group": {"id": GROUP, "index": index}}


async def test_a_group_does_not_end_before_its_producer_has_enqueued_all_of_it(store: Store) -> None:
    client = store.client()
    of = group_of(700, **CALLBACK)
    envelopes = written(of)
    first, last = group_calls.calls(envelopes)
    async with store.session() as session:
        await session.register(QUEUE)
        send(client, of, envelopes, first)
        entries = await session.fetch([QUEUE], 500, 0)
        await session.settle(QUEUE, [member(entry, number) for number, entry in enumerate(entries)])
        assert counted(client) == (500, 0)
        assert not client.exists(keys.result(QUEUE, GROUP))
        send(client, of, envelopes, last)
        entries = await session.fetch([QUEUE], 500, 0)
        await session.settle(QUEUE, [member(entry, 500 + number) for number, entry in enumerate(entries)])
    assert outcome(client)["value"]["total"] == 700
    assert len(messages(client)) == 1


async def test_a_call_of_the_producer_that_is_sent_again_adds_nobody(store: Store) -> None:
    client = store.client()
    of = group_of(700)
    envelopes = written(of)
    first, last = group_calls.calls(envelopes)
    for call in (first, last):
        assert send(client, of, envelopes, call) == send(client, of, envelopes, call)
    assert len(messages(client)) == 700
    assert client.hget(RECORD, "added") == b"700"


async def test_another_group_of_the_same_id_is_refused_and_adds_nothing(store: Store) -> None:
    client = store.client()
    enqueue(client, group_of(1))
    with pytest.raises(ResponseError, match="GROUPTAKEN"):
        enqueue(client, group_of(1))
    assert len(messages(client)) == 1


async def test_at_the_deadline_a_group_ends_with_what_has_ended_once_and_later_ends_do_not_count(
    store: Store,
) -> None:
    client = store.client()
    async with store.session() as session, store.session("other") as other:
        for each in (session, other):
            await each.register(QUEUE)
        enqueue(client, group_of(3, **CALLBACK))
        one, two, _ = await session.fetch([QUEUE], 10, 0)
        await session.settle(QUEUE, [member(one, 0)])
        due_ms = (await session.takeover(QUEUE)).next_due_ms
        assert due_ms == client.zscore(keys.groups(QUEUE), GROUP)
        assert (await session.move_due(QUEUE)).next_due_ms == due_ms
        assert not client.exists(keys.result(QUEUE, GROUP))

        past_deadline(client)
        assert (await session.takeover(QUEUE)).next_due_ms == 1
        assert (await session.move_due(QUEUE)).moved == 1
        assert (await other.move_due(QUEUE)).moved == 0
        assert outcome(client)["value"] | {"succeeded": 1, "failed": 0, "unfinished": 2} == outcome(client)["value"]
        assert [message["task"] for message in messages(client)].count("collect") == 1
        await session.settle(QUEUE, [member(two, 1)])
    assert counted(client) == (1, 0)
    assert not client.exists(keys.cancel(QUEUE, GROUP))
    assert client.zcard(keys.groups(QUEUE)) == 0


async def test_a_deadline_does_not_hide_an_earlier_job_and_the_other_way_round(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1))
        client.zadd(keys.scheduled(QUEUE), {"1:0:0 0 0 0:5:j{}": 9_000_000_000_000})
        deadline_ms = client.zscore(keys.groups(QUEUE), GROUP)
        assert (await session.takeover(QUEUE)).next_due_ms == deadline_ms
        assert (await session.move_due(QUEUE)).next_due_ms == deadline_ms
        client.zadd(keys.groups(QUEUE), {GROUP: 9_500_000_000_000})
        assert (await session.takeover(QUEUE)).next_due_ms == 9_000_000_000_000
        assert (await session.move_due(QUEUE)).next_due_ms == 9_000_000_000_000


async def test_with_cancel_rest_the_group_is_cancelled_at_its_deadline(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(2, cancel_rest=True))
        past_deadline(client)
        await session.move_due(QUEUE)
        assert client.pttl(keys.cancel(QUEUE, GROUP)) > 0
        assert await session.admit(QUEUE, [Admit("1-1", GROUP, has_producer_id=False)]) == [Admitted.CANCELLED]
        assert (await session.renew(QUEUE, [GROUP, "j"])).cancelled == {GROUP}


async def test_a_deadline_of_a_group_whose_record_is_gone_is_forgotten(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1, **CALLBACK))
        client.delete(RECORD)
        past_deadline(client)
        await session.move_due(QUEUE)
        assert client.zcard(keys.groups(QUEUE)) == 0
        [entry] = await session.fetch([QUEUE], 10, 0)
        assert await session.settle(QUEUE, [member(entry, 0)]) == SettleReply()
    assert stream_ids(client) == []


async def test_a_producer_that_comes_after_the_deadline_is_told_so(store: Store) -> None:
    client = store.client()
    of = group_of(700)
    envelopes = written(of)
    first, last = group_calls.calls(envelopes)
    async with store.session() as session:
        await session.register(QUEUE)
        send(client, of, envelopes, first)
        past_deadline(client)
        await session.move_due(QUEUE)
        with pytest.raises(ResponseError, match="GROUPENDED"):
            send(client, of, envelopes, last)
    assert outcome(client)["value"] | {"total": 500, "unfinished": 500, "sealed": False} == outcome(client)["value"]
    assert len(messages(client)) == 500


async def test_outcomes_are_kept_in_the_order_of_the_members_as_long_as_there_is_room(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(4, results=True, **CALLBACK))
        client.hset(RECORD, "room", 100)
        one, two, _, four = await session.fetch([QUEUE], 10, 0)
        big = b"9" * 30
        for index, entry in ((3, four), (0, one)):
            await session.settle(
                QUEUE, [member(entry, index, kin={"head": b'{"id":"x"', "body": b',"v":' + big + b"}"})]
            )
        await session.settle(QUEUE, [member(two, 1, kin={"head": b'{"id":"x"', "body": b',"v":' + big + b"}"})])
        past_deadline(client)
        await session.move_due(QUEUE)
    raw = client.get(keys.result(QUEUE, GROUP))
    kept = b'{"id":"x","v":' + big + b"}"
    assert b'"outcomes":[' + kept + b',{"id":"x","omitted":true},null,' + kept + b"]}" in raw
    assert not client.exists(f"{RECORD}:outcomes")


async def test_whoever_named_a_reply_stream_hears_of_the_end(store: Store) -> None:
    client = store.client()
    client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1), reply_name="me")
        [entry] = await session.fetch([QUEUE], 10, 0)
        await session.settle(QUEUE, [member(entry, 0)])
    [_, (_, fields)] = client.xrange(keys.reply(QUEUE, "me"))
    assert fields[b"m"] == client.get(keys.result(QUEUE, GROUP))


async def test_nothing_of_a_group_stays_for_ever(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(2, results=True))
        one, two = await session.fetch([QUEUE], 10, 0)
        await session.settle(QUEUE, [member(one, 0, kin={"head": b"{", "body": b"}"})])
        ours = [key for key in client.keys("*") if b":group" in key]
        assert len(ours) == 5  # the record, its members, their outcomes, the marker of the call, the deadlines
        assert all(client.pttl(key) > 0 for key in ours)
        await session.settle(QUEUE, [member(two, 1, kin={"head": b"{", "body": b"}"})])
    left = [key for key in client.keys("*") if b":group" in key]
    assert len(left) == 2
    assert all(0 < client.pttl(key) <= 3_600_000 for key in left)


async def test_a_daemon_without_a_lease_counts_nobody(store: Store) -> None:
    client = store.client()
    async with store.session("slow") as slow, store.session("quick") as quick:
        await slow.register(QUEUE)
        await quick.register(QUEUE)
        enqueue(client, group_of(1, **CALLBACK))
        [entry] = await slow.fetch([QUEUE], 10, 0)
        expire_lease(client, "slow")
        await settled_in(quick)
        [taken] = (await quick.takeover(QUEUE)).entries
        assert await slow.settle(QUEUE, [member(entry, 0)]) == SettleReply(fenced=True)
        await slow.register(QUEUE)
        assert await slow.settle(QUEUE, [member(entry, 0)]) == SettleReply(skipped=1)
        assert counted(client) == (0, 0)
        await quick.settle(QUEUE, [member(taken, 0)])
    assert [message["task"] for message in messages(client)] == ["collect"]


async def test_a_member_that_came_twice_under_one_id_is_left_to_the_first(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1))
        [entry] = await session.fetch([QUEUE], 10, 0)
        client.set(keys.seen(QUEUE, "job"), "1-1")
        await session.settle(QUEUE, [member(entry, 0, job_id="job", has_producer_id=True, duplicate=True)])
    assert counted(client) == (0, 0)
    assert not client.exists(keys.result(QUEUE, "job"))


async def test_a_member_whose_unique_key_another_job_holds_has_ended(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1))
        [entry] = await session.fetch([QUEUE], 10, 0)
        client.set(keys.unique(QUEUE, "u"), "1-1 another")
        cancelled = member(entry, 0, unique="u", duplicate=True)
        await session.settle(QUEUE, [cancelled._replace(kin=cancelled.kin._replace(succeeded=False))])  # type: ignore[union-attr]
    assert outcome(client)["value"]["failed"] == 1


@pytest.mark.parametrize("where", ["", ":members", ":outcomes", "result"])
async def test_a_key_of_the_wrong_type_holds_back_the_member_alone_and_the_group_ends_once_it_is_gone(
    store: Store, where: str
) -> None:
    client = store.client()
    key = keys.result(QUEUE, GROUP) if where == "result" else f"{RECORD}{where}"
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1, results=True, **CALLBACK))
        push(client, b"before", b"after")
        entry, before, after = await session.fetch([QUEUE], 10, 0)
        kept = client.dump(key) if client.exists(key) else None
        client.delete(key)
        client.rpush(key, "somebody else's")
        settlement = member(entry, 0, kin={"head": b'{"id":"x"', "body": b"}"})
        reply = await session.settle(QUEUE, [finish(before), settlement, finish(after)])
        [(entry_id, error)] = reply.failed
        assert entry_id == entry.entry_id
        assert key in error
        assert pending_ids(client) == [entry.entry_id]
        assert client.lrange(key, 0, -1) == [b"somebody else's"]
        assert await session.settle(QUEUE, [settlement]) == SettleReply(failed=reply.failed)
        assert "collect" not in [message["task"] for message in messages(client)]

        client.delete(key)
        if kept is not None:
            client.restore(key, 60_000, kept)
        assert await session.settle(QUEUE, [settlement]) == SettleReply()
    assert outcome(client)["value"]["succeeded"] == 1
    assert [message["task"] for message in messages(client)] == ["collect"]


async def test_a_group_that_cannot_end_at_its_deadline_is_put_off_and_holds_up_no_other(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue(client, group_of(1))
        client.delete(RECORD)
        client.set(RECORD, "somebody else's")
        past_deadline(client)
        enqueue(client, group_of(1, id="other"))
        client.zadd(keys.groups(QUEUE), {"other": 2})
        now_ms = await session.now_ms()
        await session.move_due(QUEUE)
        assert client.exists(keys.result(QUEUE, "other"))
        assert client.zscore(keys.groups(QUEUE), GROUP) >= now_ms + 5_000
        assert client.get(RECORD) == b"somebody else's"


@pytest.mark.parametrize("place", [keys.stream, keys.groups])
async def test_a_producer_that_meets_a_key_of_another_type_writes_nothing(store: Store, place: Any) -> None:
    client = store.client()
    client.set(place(QUEUE), "somebody else's")
    with pytest.raises(Exception, match="is not a"):
        enqueue(client, group_of(1))
    assert client.keys() == [place(QUEUE).encode()]


async def test_garbage_in_a_record_harms_neither_the_member_nor_its_neighbours(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.hset(RECORD, mapping={"created": "x", "added": "y", "sealed": "z", "ttl": "?", "succeeded": ""})
        one, two = await fetched(session, client, b"1", b"2")
        reply = await session.settle(QUEUE, [member(one, 0), finish(two)])
    assert [entry_id for entry_id, _ in reply.failed] == [one.entry_id]  # it is kept until a person has looked
    assert client.get(keys.result(QUEUE, two.entry_id)) == OUTCOME


async def test_a_group_of_an_id_that_was_cancelled_before_is_not_cancelled_for_it(store: Store) -> None:
    client = store.client()
    client.set(keys.cancel(QUEUE, GROUP), 1)
    enqueue(client, group_of(1))
    async with store.session() as session:
        await session.register(QUEUE)
        assert await session.admit(QUEUE, [Admit("", GROUP, has_producer_id=False)]) == [Admitted.RUN]


async def test_the_callback_of_a_group_is_no_duplicate_of_an_earlier_groups(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        for place, verdict in (("done", Admitted.RUN), ("scheduled", Admitted.DUPLICATE)):
            client.delete(RECORD)
            client.set(keys.seen(QUEUE, f"{GROUP}.end"), place)
            enqueue(client, group_of(1, **CALLBACK))
            [entry] = await session.fetch([QUEUE], 10, 0)
            await session.settle(QUEUE, [member(entry, 0)])
            [callback] = await session.fetch([QUEUE], 10, 0)
            assert await session.admit(QUEUE, [Admit(callback.entry_id, f"{GROUP}.end", True)]) == [verdict]


async def test_a_record_that_names_more_members_than_there_can_be_keeps_nobody_waiting(store: Store) -> None:
    client = store.client()
    enqueue(client, group_of(1, results=True))
    client.hset(RECORD, "added", 10**15)
    async with store.session() as session:
        await session.register(QUEUE)
        past_deadline(client)
        await session.move_due(QUEUE)
    assert len(outcome(client)["value"]["outcomes"]) == 100_000
