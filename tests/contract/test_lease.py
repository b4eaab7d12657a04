"""What registration, renewal, takeover and departure promise, on every store."""

import asyncio

import pytest

from support.jobs import QUEUE, STREAM, expire_lease, fetched, finish, pending_ids, push, readd, settled_in
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import RenewReply, SettleReply
from workd.broker.session import _Pass
from workd.errors import WrongKeyTypeError
from workd.retry import Counters

PLACES = ["stream", "leases", "scheduled", "dead", "inbox"]


async def test_registration_serves_what_is_older_than_the_group(store: Store) -> None:
    client = store.client()
    push(client, b"old")
    async with store.session() as session:
        assert await session.register(QUEUE) is False
        [entry] = await session.fetch([QUEUE], 10, 0)
    assert entry.message == b"old"


async def test_registering_again_says_whether_the_lease_was_kept_and_moves_no_position(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        await fetched(session, client, b"1")
        assert await session.register(QUEUE) is True
        assert await session.fetch([QUEUE], 10, 0) == []
        client.hdel(keys.leases(QUEUE), "me")
        assert await session.register(QUEUE) is False


@pytest.mark.parametrize("place", PLACES)
async def test_registration_names_a_key_of_the_wrong_type_and_writes_nothing(store: Store, place: str) -> None:
    client = store.client()
    key = getattr(keys, place)(QUEUE)
    client.set(key, "somebody else's")
    async with store.session() as session:
        with pytest.raises(WrongKeyTypeError, match="somebody else wrote it") as caught:
            await session.register(QUEUE)
    assert caught.value.key == key
    assert client.keys() == [key.encode()]
    assert client.get(key) == b"somebody else's"


@pytest.mark.parametrize("place", ["leases", "scheduled"])
async def test_a_key_that_turns_into_another_type_later_is_named_too(store: Store, place: str) -> None:
    client = store.client()
    key = getattr(keys, place)(QUEUE)
    async with store.session() as session:
        await session.register(QUEUE)
        client.delete(key)
        client.set(key, "wrong")
        with pytest.raises(WrongKeyTypeError) as caught:
            await (session.renew(QUEUE, []) if place == "leases" else session.move_due(QUEUE))
    assert caught.value.key == key
    assert client.get(key) == b"wrong"


async def test_a_renewal_extends_the_lease_by_the_servers_clock(store: Store) -> None:
    client = store.client()
    async with store.session(lease_s=15) as session:
        await session.register(QUEUE)
        client.hset(keys.leases(QUEUE), "me", 1)
        assert await session.renew(QUEUE, []) == RenewReply(fenced=False)
        until_ms = int(client.hget(keys.leases(QUEUE), "me") or 0)
        assert 14_000 < until_ms - await session.now_ms() <= 15_000


async def test_a_renewal_does_not_bring_a_lease_back(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.hdel(keys.leases(QUEUE), "me")
        assert (await session.renew(QUEUE, ["a"])).fenced
        assert not client.hexists(keys.leases(QUEUE), "me")


async def test_a_renewal_tells_which_of_many_jobs_were_cancelled(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        ids = [f"job {n}" for n in range(1_200)]
        for cancelled in ("job 3", "job 1199", "not in flight"):
            client.set(keys.cancel(QUEUE, cancelled), "", ex=60)
        reply = await session.renew(QUEUE, ids)
    assert reply == RenewReply(fenced=False, cancelled=frozenset({"job 3", "job 1199"}))


@pytest.mark.parametrize("how", ["expired", "missing", "unreadable"])
async def test_jobs_of_a_daemon_without_a_lease_are_taken_over_and_counted(store: Store, how: str) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        fresh, tried = await fetched(gone, client, b"1", b"2")
        await gone.settle(QUEUE, [readd(tried, counters=Counters(attempts=1, takeovers=2))])
        [tried] = await gone.fetch([QUEUE], 1, 0)
        leases = keys.leases(QUEUE)
        match how:
            case "expired":
                expire_lease(client, "gone")
            case "missing":
                client.hdel(leases, "gone")
            case _:
                client.hset(leases, "gone", "soon")
        await settled_in(here)
        reply = await here.takeover(QUEUE)
        assert reply.taken_from == ("gone",)
        assert [entry.entry_id for entry in reply.entries] == [fresh.entry_id, tried.entry_id]
        assert [entry.message for entry in reply.entries] == [b"1", b"2"]
        assert [e.counters for e in reply.entries] == [Counters(takeovers=1), Counters(attempts=1, takeovers=3)]
        assert pending_ids(client, "here") == [fresh.entry_id, tried.entry_id]
        assert not client.hexists(leases, "gone")
        assert (await gone.renew(QUEUE, [])).fenced


async def test_jobs_of_daemons_that_renew_are_left_to_them(store: Store) -> None:
    client = store.client()
    async with store.session("busy") as busy, store.session("here") as here:
        await busy.register(QUEUE)
        await here.register(QUEUE)
        [entry] = await fetched(busy, client, b"1")
        await settled_in(here)
        reply = await here.takeover(QUEUE)
        assert (reply.entries, reply.taken_from) == ([], ())
        assert await busy.settle(QUEUE, [finish(entry)]) == SettleReply()


async def test_a_daemon_whose_own_lease_is_over_neither_takes_from_itself_nor_from_others(store: Store) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        await fetched(gone, client, b"1")
        await fetched(here, client, b"2")
        expire_lease(client, "gone")
        await settled_in(here)
        client.hdel(keys.leases(QUEUE), "here")
        reply = await here.takeover(QUEUE)
        assert (reply.fenced, reply.entries) == (True, [])
        await here.register(QUEUE)
        expire_lease(client, "here")
        assert [entry.message for entry in (await here.takeover(QUEUE)).entries] == [b"1"]


async def test_the_first_takeover_of_a_connection_and_one_after_a_pause_wait_for_the_others_to_renew(
    store: Store,
) -> None:
    client = store.client()
    async with store.session("gone", 0.3) as gone, store.session("here", 0.3) as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        await fetched(gone, client, b"1")
        expire_lease(client, "gone")
        began_ms = await here.now_ms()
        while not (reply := await here.takeover(QUEUE)).entries:  # noqa: ASYNC110 (Redis tells nobody)
            await asyncio.sleep(0.02)
        waited_ms = await here.now_ms() - began_ms
        assert 1_100 <= waited_ms < 2_100
        assert reply.taken_from == ("gone",)

        here._passes[QUEUE].at_ms -= 3_100  # a pass that was 3.1 s ago
        await fetched(gone, client, b"2")
        assert (await here.takeover(QUEUE)).entries == []


async def test_a_takeover_takes_a_thousand_at_a_time_and_the_rest_in_the_next_pass(store: Store) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        await fetched(gone, client, *(str(n) for n in range(1_300)))
        expire_lease(client, "gone")
        await settled_in(here)
        first = await here.takeover(QUEUE)
        assert (await gone.renew(QUEUE, [])).fenced  # also for those that are still pending under its name
        second = await here.takeover(QUEUE)
    assert (len(first.entries), len(second.entries)) == (1_000, 300)
    assert len({entry.message for entry in first.entries + second.entries}) == 1_300


async def test_a_takeover_of_large_messages_stops_at_eight_mib(store: Store) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        await fetched(gone, client, *([b"x" * (1 << 18)] * 90))
        expire_lease(client, "gone")
        await settled_in(here)
        first = await here.takeover(QUEUE)
        assert 32 <= len(first.entries) < 90
        assert len(first.entries) + len((await here.takeover(QUEUE)).entries) == 90


async def test_an_entry_that_a_person_removed_does_not_stay_pending(store: Store) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        kept, removed = await fetched(gone, client, b"1", b"2")
        mine_kept, mine_removed = await fetched(here, client, b"3", b"4")
        client.xdel(STREAM, removed.entry_id, mine_removed.entry_id)
        expire_lease(client, "gone")
        await settled_in(here)
        assert [e.entry_id for e in (await here.takeover(QUEUE)).entries] == [kept.entry_id]
        assert [e.entry_id for e in await here.history(QUEUE, lambda _: False)] == [
            kept.entry_id,
            mine_kept.entry_id,
        ]
    assert pending_ids(client) == [kept.entry_id, mine_kept.entry_id]


async def test_takeover_forgets_consumers_without_lease_and_jobs_and_no_others(store: Store) -> None:
    client = store.client()
    async with store.session("here") as here:
        await here.register(QUEUE)
        for name in ("idle", "loaded", "vanished"):
            client.xgroup_createconsumer(STREAM, keys.GROUP, name)
        client.hset(keys.leases(QUEUE), "idle", await here.now_ms() + 60_000)
        client.hset(keys.leases(QUEUE), "never read", 1)
        push(client, b"1")
        client.xreadgroup(keys.GROUP, "loaded", {STREAM: ">"}, count=1)
        await settled_in(here)
        assert len((await here.takeover(QUEUE)).entries) == 1
    names = {consumer["name"] for consumer in client.xinfo_consumers(STREAM, keys.GROUP)}
    assert names - {b"here"} == {b"idle", b"loaded"}
    assert set(client.hkeys(keys.leases(QUEUE))) == {b"here", b"idle"}


async def test_takeover_answers_when_the_next_scheduled_job_is_due_also_while_quiet(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        assert (await session.takeover(QUEUE)).next_due_ms is None
        client.zadd(keys.scheduled(QUEUE), {"a": 1_700_000_000_123.5, "b": 1_900_000_000_000})
        assert (await session.takeover(QUEUE)).next_due_ms == 1_700_000_000_124


async def test_a_quiet_time_is_no_longer_where_the_servers_clock_was_set_back(store: Store) -> None:
    client = store.client()
    async with store.session("here", lease_s=1.0) as here, store.session("gone") as gone:
        await here.register(QUEUE)
        await gone.register(QUEUE)
        await fetched(gone, client, b"1")
        expire_lease(client, "gone")
        ahead_ms = await here.now_ms() + 86_400_000
        here._passes[QUEUE] = _Pass(at_ms=ahead_ms, quiet_until_ms=ahead_ms)
        assert (await here.takeover(QUEUE)).entries == []
        quiet_s = (here._passes[QUEUE].quiet_until_ms - await here.now_ms()) / 1000
        assert quiet_s < 2
        await asyncio.sleep(max(0.0, quiet_s))
        assert len((await here.takeover(QUEUE)).entries) == 1


async def test_a_daemon_whose_name_is_no_text_is_taken_from_like_any_other(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        push(client, b"1")
        client.xreadgroup(keys.GROUP, b"\xff", {STREAM: ">"}, count=1)
        await settled_in(session)
        reply = await session.takeover(QUEUE)
    assert ([entry.message for entry in reply.entries], reply.taken_from) == ([b"1"], ("\ufffd",))


async def test_takeover_on_a_deleted_stream_finds_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        await settled_in(session)
        client.delete(STREAM)
        assert (await session.takeover(QUEUE)).entries == []


async def test_departing_removes_the_lease_and_every_consumer_that_is_no_more(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        for name in ("vanished", "loaded", "idle"):
            client.xgroup_createconsumer(STREAM, keys.GROUP, name)
        client.hset(keys.leases(QUEUE), "idle", await session.now_ms() + 60_000)
        push(client, b"2")
        client.xreadgroup(keys.GROUP, "loaded", {STREAM: ">"}, count=1)
        await session.settle(QUEUE, [finish(entry)])
        assert await session.depart(QUEUE) is True
    assert {c["name"] for c in client.xinfo_consumers(STREAM, keys.GROUP)} == {b"loaded", b"idle"}
    assert len(pending_ids(client, "loaded")) == 1
    assert client.hkeys(keys.leases(QUEUE)) == [b"idle"]


async def test_a_daemon_with_pending_jobs_does_not_depart_and_they_can_be_taken_over(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        assert await session.depart(QUEUE) is False
    assert pending_ids(client, "me") == [entry.entry_id]
    assert client.hexists(keys.leases(QUEUE), "me")


async def test_departing_from_a_deleted_stream_gives_up_the_lease(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.delete(STREAM)
        assert await session.depart(QUEUE) is True
    assert client.keys() == []
