"""`AsyncClient` and the event loops it is used in: several in turn, two at once, one that cancels all tasks."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator

import pytest

from support.fake_daemon import FakeDaemon
from support.servers import Server
from support.waiting import eventually_async
from workd.client.async_client import AsyncClient
from workd_tasks import task


@task(name="it.loops_square")
def square(x: int) -> int:
    return x * x


@pytest.fixture
def daemon(server: Server) -> Iterator[FakeDaemon]:
    with FakeDaemon(server.client(), {"it.loops_square": square}) as daemon:
        yield daemon


async def late_result(client: AsyncClient, daemon: FakeDaemon, x: int) -> int:
    """Have a job run after somebody waits for it: its result can come over the reply stream alone."""
    daemon.hold()
    handle = await client.enqueue(square, x)
    waiting = asyncio.create_task(handle.get(timeout=20))
    await eventually_async(lambda: "default" in client.core.replies.live)
    daemon.release()
    return await waiting


def test_a_client_is_used_in_one_loop_after_the_other(server: Server, daemon: FakeDaemon) -> None:
    client = AsyncClient(server.url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what was open in a loop that has ended cannot be closed
        for x in range(3):
            assert asyncio.run(late_result(client, daemon, x)) == x * x
        asyncio.run(client.close())
        del client
        gc.collect()


def test_a_loop_that_ended_with_calls_in_their_turn_leaves_the_next_all_places(
    server: Server, daemon: FakeDaemon
) -> None:
    async def many(client: AsyncClient) -> None:
        handles = await asyncio.gather(*(client.enqueue(square, x) for x in range(100)))
        assert [await handle.get(timeout=20) for handle in handles] == [x * x for x in range(100)]

    client = AsyncClient(server.url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(2):
            asyncio.run(many(client))
        asyncio.run(client.close())
        del client
        gc.collect()


def test_two_loops_at_a_time_are_refused_with_what_to_do(server: Server, daemon: FakeDaemon) -> None:
    refused: list[str] = []

    async def elsewhere(client: AsyncClient) -> None:
        with pytest.raises(RuntimeError) as caught:
            await client.enqueue(square, 3)
        refused.append(str(caught.value))

    async def main() -> None:
        async with AsyncClient(server.url) as client:
            await client.enqueue(square, 2)
            thread = threading.Thread(target=lambda: asyncio.run(elsewhere(client)))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert await (await client.enqueue(square, 4)).get(timeout=20) == 16

    asyncio.run(main())
    assert refused == ["this AsyncClient is used in another event loop that is still running: make one for each"]


async def test_who_cancels_all_tasks_does_not_end_the_waiting_for_ever(server: Server, daemon: FakeDaemon) -> None:
    async with AsyncClient(server.url) as client:
        assert await late_result(client, daemon, 2) == 4
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
        await eventually_async(lambda: not client.core.replies.live)
        assert await late_result(client, daemon, 3) == 9


async def test_a_client_that_is_dropped_leaves_neither_task_nor_connection(server: Server, daemon: FakeDaemon) -> None:
    client = AsyncClient(server.url)
    assert await late_result(client, daemon, 2) == 4
    assert any(task.get_name() == "workd-replies" for task in asyncio.all_tasks())
    del client
    gc.collect()
    await eventually_async(lambda: not any(task.get_name() == "workd-replies" for task in asyncio.all_tasks()))
    gc.collect()  # a warning of what was left open would be an error
