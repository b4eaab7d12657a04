"""What firing the schedule promises, on every store: each fire time once, whoever is first, and never early."""

import time
from typing import Any

import pytest

from support.jobs import QUEUE, STREAM
from support.stores import Store
from workd.broker import keys
from workd.broker.firing import Fired, FireReply, Firing, fire
from workd.broker.firing import marks as marks_of

CRON = keys.cron(QUEUE)
AT_S = 1_700_000_000


def firing(at_s: int = AT_S, name: str = "nightly", fingerprint: str = "abc") -> Firing:
    return Firing(name, at_s, fingerprint, f'{{"task":"report","id":"{name}:{at_s}"}}'.encode())


def messages(client: Any) -> list[bytes]:
    return [fields[b"m"] for _, fields in client.xrange(STREAM)]


async def test_a_fire_time_is_enqueued_by_the_first_of_the_fleet(store: Store) -> None:
    client = store.client()
    async with store.session("one") as one, store.session("two") as two:
        await one.register(QUEUE)
        await two.register(QUEUE)
        first = await fire(one, QUEUE, [firing()])
        second = await fire(two, QUEUE, [firing()])
        again = await fire(one, QUEUE, [firing()])
    assert [reply.fired for reply in (first, second, again)] == [(Fired.NOW,), (Fired.BEFORE,), (Fired.BEFORE,)]
    assert messages(client) == [firing().message]
    assert [list(fields) for _, fields in client.xrange(STREAM)] == [[b"m"]]
    assert abs(first.server_ms / 1000 - time.time()) < 60


async def test_lines_do_not_stand_in_each_others_way(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        batch = [firing(AT_S), firing(AT_S + 60), firing(AT_S, name="other"), firing(AT_S + 30)]
        reply = await fire(session, QUEUE, batch)
    assert reply.fired == (Fired.NOW, Fired.NOW, Fired.NOW, Fired.BEFORE)
    assert messages(client) == [one.message for one in batch[:3]]
    assert client.hgetall(CRON) == {b"nightly": b"%d abc" % (AT_S + 60), b"other": b"%d abc" % AT_S}


async def test_nothing_fires_before_its_time_by_the_servers_clock(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        later_s = await session.now_ms() // 1000 + 3_600
        reply = await fire(session, QUEUE, [firing(AT_S), firing(later_s)])
    assert reply.fired == (Fired.NOW, Fired.TOO_EARLY)
    assert len(messages(client)) == 1
    assert client.hget(CRON, "nightly") == b"%d abc" % AT_S


async def test_a_line_begins_when_it_is_first_seen_and_goes_on_where_it_was(store: Store) -> None:
    async with store.session() as session:
        await session.register(QUEUE)
        now_s = await session.now_ms() // 1000
        marks = await marks_of(session, QUEUE, {"nightly": "abc"})
        assert marks is not None
        assert now_s <= marks["nightly"] <= now_s + 60
        assert await marks_of(session, QUEUE, {"nightly": "abc"}) == marks
        store.client().hset(CRON, "nightly", f"{AT_S} abc")
        assert await marks_of(session, QUEUE, {"nightly": "abc"}) == {"nightly": AT_S}


@pytest.mark.parametrize("mark", [f"{AT_S} another", "", "soon", f"{AT_S}", "-5 abc"])
async def test_a_line_with_other_fire_times_than_before_has_missed_nothing(store: Store, mark: str) -> None:
    client = store.client()
    client.hset(CRON, "nightly", mark)
    async with store.session() as session:
        await session.register(QUEUE)
        now_s = await session.now_ms() // 1000
        marks = await marks_of(session, QUEUE, {"nightly": "abc"})
    assert marks is not None
    assert marks["nightly"] >= now_s
    assert client.hget(CRON, "nightly") == b"%d abc" % marks["nightly"]


async def test_a_line_that_is_switched_off_is_forgotten_and_begins_anew(store: Store) -> None:
    client = store.client()
    client.hset(CRON, mapping={"off": f"{AT_S} abc", "on": f"{AT_S} abc"})
    async with store.session() as session:
        await session.register(QUEUE)
        assert await marks_of(session, QUEUE, {"off": "", "on": "abc"}) == {"off": 0, "on": AT_S}
        assert client.hkeys(CRON) == [b"on"]
        marks = await marks_of(session, QUEUE, {"off": "abc"})
        assert marks is not None
        assert marks["off"] > AT_S


async def test_a_daemon_without_its_lease_fires_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        client.hdel(keys.leases(QUEUE), "me")
        assert await fire(session, QUEUE, [firing()]) == FireReply(fenced=True)
        assert await marks_of(session, QUEUE, {"nightly": "abc"}) is None
    assert (messages(client), client.exists(CRON)) == ([], 0)


async def test_a_refused_job_keeps_its_fire_time(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        last = "18446744073709551615-18446744073709551615"
        client.xadd(STREAM, {"m": "last"}, id=last)
        reply = await fire(session, QUEUE, [firing()])
        assert reply.fired == (Fired.REFUSED,)
        assert reply.errors[0].startswith(f"{STREAM}: ")
        assert not client.exists(CRON)
        client.delete(STREAM)
        assert (await fire(session, QUEUE, [firing()])).fired == (Fired.NOW,)


async def test_marks_of_another_type_are_left_alone_and_told(store: Store) -> None:
    client = store.client()
    client.set(CRON, "somebody else's")
    async with store.session() as session:
        await session.register(QUEUE)
        reply = await fire(session, QUEUE, [firing()])
    assert reply.fired == (Fired.REFUSED,)
    assert "WRONGTYPE" in reply.errors[0]
    assert (messages(client), client.get(CRON)) == ([], b"somebody else's")


async def test_a_full_memory_refuses_the_schedule_and_not_the_daemon(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        client.config_set("maxmemory", 1)
        reply = await fire(session, QUEUE, [firing()])
        assert reply.fired == (Fired.REFUSED,)
        assert "maxmemory" in reply.errors[0]
        client.config_set("maxmemory", 0)
        assert (await fire(session, QUEUE, [firing()])).fired == (Fired.NOW,)


async def test_a_mark_that_was_made_while_the_servers_clock_was_wrong_silences_no_line(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        now_s = await session.now_ms() // 1000
        for ahead in (f"{now_s + 86_400} abc", f"{'9' * 30} abc"):
            client.hset(CRON, "nightly", ahead)
            told = await marks_of(session, QUEUE, {"nightly": "abc"})
            assert told is not None
            assert now_s <= told["nightly"] <= now_s + 60
            client.hset(CRON, "nightly", ahead)  # and by a daemon that has not been away
            assert (await fire(session, QUEUE, [firing(now_s)])).fired == (Fired.NOW,)
            assert (await fire(session, QUEUE, [firing(now_s)])).fired == (Fired.BEFORE,)
            client.hdel(CRON, "nightly")
        client.hset(CRON, "nightly", f"{now_s + 20} abc")  # servers differ by that after a failover
        assert await marks_of(session, QUEUE, {"nightly": "abc"}) == {"nightly": now_s + 20}
        assert (await fire(session, QUEUE, [firing(now_s)])).fired == (Fired.BEFORE,)
