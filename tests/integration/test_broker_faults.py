"""What a real server can do to a session, and what must hold all the same."""

import asyncio
import select
import time

import pytest

from support.jobs import (
    OUTCOME,
    QUEUE,
    STREAM,
    fetched,
    finish,
    pending_ids,
    push,
    readd,
    settled_in,
    stream_ids,
)
from support.servers import Server, valkey_binary
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import Admit, Admitted, SettleReply
from workd.broker.replies import Replies
from workd.broker.session import Session
from workd.errors import BrokerError, BrokerUnavailableError, SettingsError


async def test_scripts_that_the_server_forgot_are_sent_again(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        for call in (
            lambda: session.register(QUEUE),
            lambda: session.renew(QUEUE, ["a"]),
            lambda: session.takeover(QUEUE),
            lambda: session.move_due(QUEUE),
            lambda: session.move_inbox(QUEUE),
            lambda: session.admit(QUEUE, [Admit(entry.entry_id, "job", has_producer_id=True)]),
            lambda: session.history(QUEUE, lambda _: False),
            lambda: session.settle(QUEUE, [finish(entry)]),
            lambda: session.depart(QUEUE),
        ):
            client.script_flush()
            await call()
    assert stream_ids(client) == []


async def test_a_settle_call_that_was_cancelled_leaves_no_connection_in_doubt_and_may_be_sent_again(
    real_store: Store,
) -> None:
    client = real_store.client()
    assert real_store.server is not None
    async with real_store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, b"1", b"2")
        batch = [finish(entries[0]), readd(entries[1], due_ms=1)]
        real_store.server.pause()
        task = asyncio.create_task(session.settle(QUEUE, batch))
        await asyncio.sleep(0.05)  # it has been sent: nothing else is running
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        real_store.server.resume()
        with pytest.raises(BrokerUnavailableError):
            await session.ping()
    async with real_store.session() as session:
        await session.register(QUEUE)
        again = await session.settle(QUEUE, batch)
        assert (again.failed, again.fenced) == ((), False)
    assert client.get(keys.result(QUEUE, entries[0].entry_id)) == OUTCOME
    assert client.zcard(keys.scheduled(QUEUE)) == 1
    assert stream_ids(client) == []


async def test_a_cancelled_call_ends_those_that_wait_behind_and_before_it_on_its_connection(real_store: Store) -> None:
    assert real_store.server is not None
    async with real_store.session() as session:
        real_store.server.pause()
        first, second, third = (asyncio.create_task(session.ping()) for _ in range(3))
        await asyncio.sleep(0)  # they have been sent
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        for other in (first, third):
            with pytest.raises(BrokerUnavailableError, match="a call was cancelled"):
                await other
        real_store.server.resume()


async def test_an_answer_that_comes_in_the_same_turn_as_its_deadline_costs_no_connection(real_store: Store) -> None:
    async with real_store.session() as session:
        line = session._shared._line
        assert isinstance(line, Replies)
        connection = line._transport.get_extra_info("socket")
        call = asyncio.create_task(session._shared.call(b"PING", timeout_s=0.05))
        await asyncio.sleep(0)  # it has been sent
        # The loop is to find both, the answer and the end of the time.
        assert select.select([connection], [], [], 20)[0]
        time.sleep(0.1)  # noqa: ASYNC251 - it is held up
        assert await call == b"PONG"
        await asyncio.sleep(0)
        await session.ping()


async def test_a_connection_that_was_killed_is_reported_and_not_replaced_behind_our_back(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError):
                await session.ping()
            with pytest.raises(BrokerUnavailableError):
                await session.fetch([QUEUE], 1, 0)
        assert len(client.client_list()) == 1


async def test_a_server_that_hangs_is_unavailable_after_the_call_timeout(real_store: Store) -> None:
    assert real_store.server is not None
    session = await Session.open(real_store.server.url, "me", 15.0, call_timeout_s=0.2)
    real_store.server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match=r"no answer within 0\.2 s"):
            await session.renew(QUEUE, [])
        with pytest.raises(BrokerUnavailableError):
            await Session.open(real_store.server.url, "me", 15.0, call_timeout_s=0.2)
        assert time.monotonic() - began < 10
        real_store.server.resume()
        with pytest.raises(BrokerUnavailableError, match="closed"):
            await session.ping()
    finally:
        real_store.server.resume()
        await session.close()


async def test_a_replica_is_unavailable(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        client.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(BrokerUnavailableError, match="READONLY"):
                await session.register(QUEUE)
        finally:
            client.replicaof("NO", "ONE")


async def test_a_server_that_is_busy_with_somebodys_script_is_unavailable(real_store: Store) -> None:
    client = real_store.client()
    client.config_set("busy-reply-threshold", 50)
    async with real_store.session() as session:
        endless = asyncio.create_task(asyncio.to_thread(_run_endless_script, real_store))
        try:
            with pytest.raises(BrokerUnavailableError, match="BUSY"):
                await ping_for_ever(session)
        finally:
            client.script_kill()
            await endless


async def ping_for_ever(session: Session) -> None:
    while True:
        await session.ping()


def _run_endless_script(store: Store) -> None:
    with store.client() as client, pytest.raises(Exception, match=r"(?i)kill"):
        client.eval("while true do end", 0)


async def test_missing_rights_are_an_error_that_names_what_was_asked_for(real_store: Store) -> None:
    assert real_store.server is not None
    client = real_store.client()
    client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "+@connection", "+ping")
    url = real_store.server.url.replace("127", "poor:pw@127")
    try:
        session = await Session.open(url, "me", 15.0)
        with pytest.raises(BrokerError, match="registering, queue default") as caught:
            await session.register(QUEUE)
        assert not isinstance(caught.value, BrokerUnavailableError)
        await session.close()
        with pytest.raises(BrokerUnavailableError) as refused:
            await Session.open(url.replace("pw", "secret"), "me", 15.0)
        assert "secret" not in str(refused.value)
        assert "127.0.0.1" in str(refused.value)
    finally:
        client.execute_command("ACL", "DELUSER", "poor")


async def test_nobody_there_is_an_error_that_names_the_url_without_its_password() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"redis://127\.0\.0\.1:1/3") as caught:
        await Session.open("redis://user:secret@127.0.0.1:1/3?password=secret", "me", 15.0)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "localhost", "redis://localhost:port", "redis://localhost:1/0?foo=bar", "redis://[::1/0"],
)
async def test_a_url_that_is_none_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="redis_url"):
        await Session.open(url, "me", 15.0)


async def test_the_url_cannot_change_the_protocol(valkey: Server) -> None:
    session = await Session.open(f"{valkey.url}?protocol=3&decode_responses=yes", "me", 15.0)
    await session.register(QUEUE)
    [entry] = await fetched(session, valkey.client(), b"\xff")
    assert entry.message == b"\xff"
    await session.close()


async def test_after_an_outage_of_three_leases_everybody_renews_and_nothing_is_taken_over() -> None:
    lease_s = 0.6
    with Server(valkey_binary(), appendonly=True, extra=("--appendfsync", "always")) as server:
        store = Store("valkey", server)
        one, two = await store.open("one", lease_s), await store.open("two", lease_s)
        for session in (one, two):
            await session.register(QUEUE)
            await settled_in(session)
        entries = await fetched(one, server.client(), b"1", b"2")
        server.kill()
        await one.close()
        await two.close()
        await asyncio.sleep(3 * lease_s)
        server.start()

        two = await store.open("two", lease_s)  # the first to be back may not take what is not lost
        assert await two.register(QUEUE) is True
        assert (await two.takeover(QUEUE)).entries == []
        one = await store.open("one", lease_s)
        assert not (await one.renew(QUEUE, [])).fenced
        assert await one.history(QUEUE, {e.entry_id for e in entries}.__contains__) == []
        assert (await two.takeover(QUEUE)).entries == []
        assert await one.settle(QUEUE, [finish(entry) for entry in entries]) == SettleReply()
        assert pending_ids(server.client()) == []
        await one.close()
        await two.close()


async def test_a_daemon_that_does_not_come_back_after_an_outage_is_taken_over(valkey: Server) -> None:
    store = Store("valkey", valkey)
    lease_s = 0.3
    async with store.session("gone", lease_s) as gone:
        await gone.register(QUEUE)
        await fetched(gone, valkey.client(), b"1")
    async with store.session("here", lease_s) as here:
        await here.register(QUEUE)
        async with asyncio.timeout(50):
            while not (reply := await here.takeover(QUEUE)).entries:
                await here.renew(QUEUE, [])
                await asyncio.sleep(0.05)
    assert reply.taken_from == ("gone",)


async def test_many_daemons_that_take_over_at_once_share_what_there_is(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session("gone") as gone:
        await gone.register(QUEUE)
        await fetched(gone, client, *(str(n) for n in range(3_000)))
    client.hdel(keys.leases(QUEUE), "gone")
    others = [await real_store.open(f"other {n}".replace(" ", "-")) for n in range(4)]
    for other in others:
        await other.register(QUEUE)
        await settled_in(other)
    replies = await asyncio.gather(*(other.takeover(QUEUE) for other in others))
    taken = [entry.entry_id for reply in replies for entry in reply.entries]
    assert len(taken) == len(set(taken)) == 3_000
    for other in others:
        await other.close()


async def test_two_daemons_that_fetch_one_id_at_once_run_it_once(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session("one") as one, real_store.session("two") as two:
        await one.register(QUEUE)
        await two.register(QUEUE)
        push(client, b"1", b"1")
        pairs = [(s, (await s.fetch([QUEUE], 1, 0))[0]) for s in (one, two)]
        asked = [s.admit(QUEUE, [Admit(e.entry_id, "job", has_producer_id=True)]) for s, e in pairs]
        answers = await asyncio.gather(*asked)
    assert sorted(answer.name for [answer] in answers) == [Admitted.DUPLICATE.name, Admitted.RUN.name]


async def test_a_stream_under_our_feet_is_kept_even_when_every_producer_is_faster(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        for n in range(20):
            client.delete(STREAM)
            push(client, str(n))
            assert [e.message for e in await session.fetch([QUEUE], 1, 0)] == [str(n).encode()]
