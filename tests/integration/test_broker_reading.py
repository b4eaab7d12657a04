"""Reading from a real server: blocking, being interrupted, losing the stream, losing a reply."""

import asyncio
import random
import time
from typing import Any

import pytest

from support.jobs import QUEUE, STREAM, fetched, finish, pending_ids, push, stream_ids
from support.stores import Store
from support.waiting import eventually, eventually_async
from workd.broker import keys
from workd.broker.ops import Argument
from workd.broker.session import Session
from workd.errors import BrokerUnavailableError, WrongKeyTypeError

LONG_MS = 30_000


def blocked_clients(store: Store) -> int:
    return int(store.client().info("clients")["blocked_clients"])


def deafen(session: Session) -> None:
    """Have no reply to a fetch arrive any more."""
    reader: Any = session._fetcher.link._connection._reader
    reader._transport.pause_reading()


async def blocked_fetch(store: Store, session: Session, *queues: str) -> "asyncio.Task[list[bytes | None]]":
    async def fetch() -> list[bytes | None]:
        return [entry.message for entry in await session.fetch(queues or [QUEUE], 10, LONG_MS)]

    task = asyncio.create_task(fetch())
    await eventually_async(lambda: blocked_clients(store) == 1)
    return task


async def test_a_message_wakes_a_blocked_read(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        began = time.monotonic()
        push(client, b"1")
        assert await task == [b"1"]
        assert time.monotonic() - began < 1


async def test_a_read_over_several_queues_is_woken_by_any_of_them(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        for queue in ("a", "b", "c"):
            await session.register(queue)
        for queue in ("c", "a"):
            task = await blocked_fetch(real_store, session, "a", "b", "c")
            client.xadd(keys.stream(queue), {"m": queue})
            assert await task == [queue.encode()]


async def test_a_read_with_nothing_to_read_ends_after_its_time(real_store: Store) -> None:
    async with real_store.session() as session:
        await session.register(QUEUE)
        began = time.monotonic()
        assert await session.fetch([QUEUE], 10, 200) == []
        assert 0.19 < time.monotonic() - began < 10


async def test_settling_does_not_wait_behind_a_blocked_read(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        task = await blocked_fetch(real_store, session)
        async with asyncio.timeout(20):
            await session.settle(QUEUE, [finish(entry)])
        assert not task.done()
        await session.interrupt()
        assert await task == []


async def test_an_interrupt_ends_a_blocked_read_at_once_and_only_that_one(real_store: Store) -> None:
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        await session.interrupt()
        async with asyncio.timeout(20):
            assert await task == []
        began = time.monotonic()
        assert await session.fetch([QUEUE], 1, 200) == []
        assert time.monotonic() - began > 0.19


async def test_an_interrupt_before_the_read_is_not_forgotten(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        await session.interrupt()
        push(client, b"1")
        async with asyncio.timeout(20):
            assert len(await session.fetch([QUEUE], 1, LONG_MS)) == 1
            await session.interrupt()
            assert await session.fetch([QUEUE], 1, LONG_MS) == []


async def test_an_interrupt_that_reaches_redis_before_the_read_ends_it_all_the_same(
    real_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_store.session() as session:
        await session.register(QUEUE)
        link, sent = session._fetcher.link, asyncio.Event()
        call = link.call

        async def call_later(*command: Argument, timeout_s: float | None = None) -> Any:
            await sent.wait()
            return await call(*command, timeout_s=timeout_s)

        # The read is under way as far as the session knows, and has not been sent.
        monkeypatch.setattr(link, "call", call_later)
        fetch = asyncio.create_task(session.fetch([QUEUE], 1, LONG_MS))
        await eventually_async(lambda: session._fetcher._blocked)
        interrupt = asyncio.create_task(session.interrupt())
        await eventually_async(lambda: real_store.client().info("commandstats").get("cmdstat_client|unblock"))
        sent.set()
        async with asyncio.timeout(20):
            assert await fetch == []
            await interrupt


async def test_no_entry_is_lost_and_no_wake_up_missed_when_interrupts_race_with_messages(real_store: Store) -> None:
    dice = random.Random(7)
    rounds = 400
    received: list[bytes | None] = []
    async with real_store.session("reader") as session, real_store.session("producer") as producer:
        await session.register(QUEUE)

        async def pause() -> None:
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)

        async def produce() -> None:
            await pause()
            await producer._shared.call(b"XADD", STREAM, b"*", b"m", b"x")

        async def interrupt() -> None:
            await pause()
            await session.interrupt()

        for _ in range(rounds):
            async with asyncio.timeout(50):
                fetch = asyncio.create_task(session.fetch([QUEUE], 10, LONG_MS))
                await asyncio.gather(produce(), interrupt())
                received += [entry.message for entry in await fetch]
        received += [entry.message for entry in await session.fetch([QUEUE], 1_000, 0)]
        received += [entry.message for entry in await session.fetch([QUEUE], 1_000, 0)]
        assert len(received) == rounds
        assert len(pending_ids(real_store.client(), "reader")) == rounds


@pytest.mark.parametrize("queues", [(QUEUE,), (QUEUE, "other")])
async def test_a_stream_that_is_deleted_under_a_blocked_read_is_made_again(
    real_store: Store, queues: tuple[str, ...]
) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        for queue in queues:
            await session.register(queue)
        task = await blocked_fetch(real_store, session, *queues)
        client.delete(STREAM)
        await eventually_async(lambda: client.exists(STREAM))
        push(client, b"1")
        async with asyncio.timeout(50):
            assert await task == [b"1"]
    assert len(pending_ids(client)) == 1


async def test_a_group_that_is_destroyed_under_a_blocked_read_is_made_again(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        client.xgroup_destroy(STREAM, keys.GROUP)
        await asyncio.sleep(0)
        push(client, b"1")
        async with asyncio.timeout(50):
            assert await task == [b"1"]


async def test_a_flushed_server_is_served_again(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        client.flushall()
        push(client, b"1")
        async with asyncio.timeout(50):
            assert await task == [b"1"]


async def test_a_consumer_that_is_deleted_under_its_blocked_read_still_owns_what_it_reads(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        client.xgroup_delconsumer(STREAM, keys.GROUP, "me")
        push(client, b"1")
        async with asyncio.timeout(50):
            assert await task == [b"1"]
        assert len(pending_ids(client, "me")) == 1


async def test_a_stream_that_turns_into_another_type_under_a_blocked_read_is_named(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        client.set(STREAM, "wrong")
        with pytest.raises(WrongKeyTypeError) as caught:
            async with asyncio.timeout(50):
                await task
    assert caught.value.key == STREAM
    assert client.get(STREAM) == b"wrong"


async def test_a_fetch_whose_reply_was_lost_is_found_in_the_history_of_the_next_session(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        task = await blocked_fetch(real_store, session)
        deafen(session)
        push(client, b"lost")
        eventually(lambda: pending_ids(client))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BrokerUnavailableError):
            await session.fetch([QUEUE], 1, 0)
    async with real_store.session() as session:
        assert await session.register(QUEUE) is True
        [entry] = await session.history(QUEUE, lambda _: False)
        assert (entry.message, entry.counters.takeovers) == (b"lost", 0)
        await session.settle(QUEUE, [finish(entry)])
    assert stream_ids(client) == []


async def test_a_blocked_read_whose_server_hangs_ends_with_an_error_not_with_silence(real_store: Store) -> None:
    assert real_store.server is not None
    session = await Session.open(real_store.server.url, "me", 15.0, call_timeout_s=0.3)
    try:
        await session.register(QUEUE)
        real_store.server.pause()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match=r"no answer within 0\.[45]"):
            await session.fetch([QUEUE], 1, 200)
        assert time.monotonic() - began < 10
    finally:
        real_store.server.resume()
        await session.close()


async def test_closing_a_session_ends_its_blocked_read(real_store: Store) -> None:
    session = await real_store.open()
    await session.register(QUEUE)
    task = await blocked_fetch(real_store, session)
    await session.close()
    with pytest.raises(BrokerUnavailableError):
        await task
    with pytest.raises(BrokerUnavailableError):
        await session.ping()
    await session.close()


async def test_a_deleted_stream_or_group_is_made_again_and_what_came_meanwhile_is_served(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        client.delete(STREAM)
        assert await session.fetch([QUEUE], 1, 0) == []
        client.delete(STREAM)
        push(client, b"new stream, no group")
        assert [e.message for e in await session.fetch([QUEUE], 1, 0)] == [b"new stream, no group"]
        client.xgroup_destroy(STREAM, keys.GROUP)
        assert [e.message for e in await session.fetch([QUEUE], 1, 0)] == [b"new stream, no group"]


async def test_what_was_read_of_one_queue_is_not_lost_when_the_next_one_fails(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        client.set(keys.stream("bad"), "wrong")
        push(client, b"1")
        assert [e.message for e in await session.fetch([QUEUE, "bad"], 5, 0)] == [b"1"]
