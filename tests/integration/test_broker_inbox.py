"""Waiting for the inbox on a real server."""

import asyncio

import pytest

from support.jobs import QUEUE
from support.stores import Store
from support.waiting import eventually_async
from workd.broker import keys
from workd.errors import WrongKeyTypeError


def blocked_clients(store: Store) -> int:
    return int(store.client().info("clients")["blocked_clients"])


async def test_waiting_for_the_inbox_wakes_and_removes_nothing(real_store: Store) -> None:
    client = real_store.client()
    inbox = keys.inbox(QUEUE)
    async with real_store.session("one") as one, real_store.session("two") as two:
        await one.register(QUEUE)
        assert await one.wait_inbox(QUEUE, 0.1) is False
        waiting = [asyncio.create_task(session.wait_inbox(QUEUE, 30)) for session in (one, two)]
        await eventually_async(lambda: blocked_clients(real_store) == 2)
        client.rpush(inbox, "a", "b")
        async with asyncio.timeout(50):
            assert await asyncio.gather(*waiting) == [True, True]
        assert client.lrange(inbox, 0, -1) == [b"a", b"b"]
        assert [await one.move_inbox(QUEUE), await two.move_inbox(QUEUE)] == [2, 0]
        assert [e.message for e in await one.fetch([QUEUE], 10, 0)] == [b"a", b"b"]


async def test_a_cancelled_wait_for_the_inbox_gives_up_its_connection_and_no_other(real_store: Store) -> None:
    client = real_store.client()
    async with real_store.session() as session:
        await session.register(QUEUE)
        waiting = asyncio.create_task(session.wait_inbox(QUEUE, 30))
        await eventually_async(lambda: blocked_clients(real_store) == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually_async(lambda: blocked_clients(real_store) == 0)
        await session.ping()
        client.rpush(keys.inbox(QUEUE), "a")
        assert await session.wait_inbox(QUEUE, 5) is True


async def test_an_inbox_of_the_wrong_type_is_named(real_store: Store) -> None:
    async with real_store.session() as session:
        real_store.client().set(keys.inbox(QUEUE), "wrong")
        with pytest.raises(WrongKeyTypeError) as caught:
            await session.wait_inbox(QUEUE, 5)
    assert caught.value.key == keys.inbox(QUEUE)
