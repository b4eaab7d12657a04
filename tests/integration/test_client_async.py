"""The same producer in an event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from support.fake_daemon import Duplicate, FakeDaemon
from support.servers import Server, valkey_binary
from support.waiting import eventually_async
from workd.broker import keys
from workd.client import replies
from workd.client.async_client import AsyncClient
from workd.errors import (
    EnqueueTimeoutError,
    InvalidJobError,
    JobCancelledError,
    JobFailedError,
    ResultGoneError,
    ResultTimeoutError,
    ServerUnavailableError,
)
from workd_tasks import task


@task(name="it.async_square")
def square(x: int) -> int:
    return x * x


@task(name="it.async_tomorrow", queue="images")
def tomorrow(day: datetime) -> datetime:
    return day


def fail() -> None:
    raise KeyError("no such thing")


def duplicate() -> None:
    raise Duplicate("held by another job")


TASKS: dict[str, Callable[..., Any]] = {
    "it.async_square": square,
    "it.async_tomorrow": lambda day: day,
    "fail": fail,
    "duplicate": duplicate,
}


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as client:
        yield client


@pytest.fixture
def daemon(server: Server) -> Iterator[FakeDaemon]:
    with FakeDaemon(server.client(), TASKS, "default", "images") as daemon:
        yield daemon


async def test_a_job_goes_out_and_its_value_comes_back(client: AsyncClient, daemon: FakeDaemon) -> None:
    handle = await client.enqueue(square, 4)
    assert await handle.get(timeout=20) == 16
    assert await handle.get() == 16
    assert await handle.status() == "succeeded"
    assert await (await client.enqueue(square, 5)).get(timeout=20) == 25


async def test_each_task_goes_to_its_queue_and_gives_its_own_types(client: AsyncClient, daemon: FakeDaemon) -> None:
    assert await (await client.enqueue(square, 4)).get(timeout=20) == 16
    day = datetime(2026, 1, 2, tzinfo=UTC)
    assert await (await client.enqueue(tomorrow, day)).get(timeout=20) == day
    assert await (await client.with_options(queue="images").enqueue(square, 3)).get(timeout=20) == 9


async def test_a_thousand_at_once_all_come_back(client: AsyncClient, daemon: FakeDaemon) -> None:
    handles = await asyncio.gather(*(client.enqueue(square, x) for x in range(1_000)))
    assert await asyncio.gather(*(handle.get(timeout=20) for handle in handles)) == [x * x for x in range(1_000)]


async def test_many_jobs_go_out_in_few_calls(client: AsyncClient, daemon: FakeDaemon, server: Server) -> None:
    handles = await client.enqueue_many(square, ((x,) for x in range(600)))
    assert [await handle.get(timeout=20) for handle in handles] == [x * x for x in range(600)]
    with server.client() as other:
        other.script_flush()
    assert await (await client.enqueue_many("it.async_square", [(3,)]))[0].get(timeout=20) == 9
    with pytest.raises(InvalidJobError) as caught:
        await client.enqueue_many(square, [(1,), (1, 2)])
    assert caught.value.__notes__ == ["0 jobs had been queued before"]
    with pytest.raises(InvalidJobError, match="names one job"):
        await client.with_options(id="x").enqueue_many(square, [(1,)])


async def test_other_ends_raise_what_they_are(client: AsyncClient, daemon: FakeDaemon) -> None:
    with pytest.raises(JobFailedError, match="no such thing"):
        await (await client.enqueue("fail")).get(timeout=20)
    with pytest.raises(JobCancelledError):
        await (await client.with_options(unique="u").enqueue("duplicate")).get(timeout=20)
    with pytest.raises(ResultGoneError):
        await (await client.with_options(result_ttl=0).enqueue(square, 1)).get()


async def test_a_wait_that_is_too_short_may_be_tried_again(client: AsyncClient, daemon: FakeDaemon) -> None:
    daemon.hold()
    handle = await client.enqueue(square, 4)
    with pytest.raises(ResultTimeoutError):
        await handle.get(timeout=0.05)
    assert not await handle.wait(timeout=0)
    assert await handle.status() == "queued"
    daemon.release()
    assert await handle.wait(timeout=5)
    assert await handle.get(timeout=0) == 16


async def test_a_result_is_found_by_id_and_a_duplicate_gets_the_first_ones(
    client: AsyncClient, daemon: FakeDaemon
) -> None:
    view = client.with_options(id="order-7")
    assert await (await view.enqueue(square, 4)).get(timeout=20) == 16
    assert await client.result("order-7").get(timeout=20) == 16
    assert await client.result("unheard-of").status() == "unknown"
    assert await (await view.enqueue("duplicate")).get(timeout=20) == 16


async def test_outcomes_nobody_took_in_time_are_found_all_the_same(
    client: AsyncClient, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "KEPT_OUTCOMES", 3)
    monkeypatch.setattr("workd.client.async_reader.TRIM_EVERY", 5)
    await (await client.enqueue(square, 0)).get(timeout=20)
    handles = await client.enqueue_many(square, ((x,) for x in range(20)))
    assert await handles[-1].get(timeout=20) == 361
    assert [await handle.get(timeout=20) for handle in handles] == [x * x for x in range(20)]


async def test_a_cancelled_call_leaves_no_answer_to_the_next(client: AsyncClient, server: Server) -> None:
    await client.enqueue(square, 1)
    server.pause()
    call = asyncio.create_task(client.enqueue(square, 2))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    server.resume()
    assert await client.result("nothing").status() == "unknown"
    assert await (await client.enqueue(square, 3)).status() == "queued"


async def test_a_server_that_stands_still_costs_the_deadline(server: Server) -> None:
    async with AsyncClient(server.url, deadline_s=0.3) as client:
        await client.enqueue(square, 1)
        server.pause()
        try:
            with pytest.raises(EnqueueTimeoutError, match="whether it was run is not known"):
                await client.enqueue(square, 2)
        finally:
            server.resume()
        assert await (await client.enqueue(square, 3)).status() == "queued"


async def test_a_stream_key_of_the_wrong_type_is_named(client: AsyncClient, server: Server) -> None:
    with server.client() as other:
        other.set(keys.stream("default"), "somebody else's")
    with pytest.raises(ServerUnavailableError, match=r"workd:\{default\}:stream.*WRONGTYPE"):
        await client.enqueue(square, 4)


async def test_a_reply_key_of_the_wrong_type_only_makes_results_slower(
    client: AsyncClient, daemon: FakeDaemon, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as other:
        other.set(keys.reply("default", client.core.replies.name), "somebody else's")
    daemon.hold()
    handle = await client.enqueue(square, 4)
    waiting = asyncio.create_task(handle.get(timeout=20))
    await eventually_async(lambda: any("results come late" in record.message for record in caplog.records))
    daemon.release()
    assert await waiting == 16


async def test_a_restarted_server_is_met_again_and_no_waiter_is_forgotten() -> None:
    with Server(valkey_binary(), appendonly=True) as server, FakeDaemon(server.client(), TASKS) as daemon:
        async with AsyncClient(server.url) as client:
            assert await (await client.enqueue(square, 4)).get(timeout=20) == 16
            daemon.hold()
            handle = await client.enqueue(square, 5)
            waiting = asyncio.create_task(handle.get(timeout=20))
            await asyncio.sleep(0.02)
            server.stop()
            with pytest.raises(ServerUnavailableError, match="was not sent"):
                await client.enqueue(square, 6)
            server.start()
            daemon.release()
            assert await waiting == 25
            assert await (await client.enqueue(square, 6)).get(timeout=20) == 36


async def test_closing_ends_the_task_and_is_safe_twice(server: Server, daemon: FakeDaemon) -> None:
    client = AsyncClient(server.url)
    await client.close()
    client = AsyncClient(server.url)
    await (await client.enqueue(square, 4)).get(timeout=20)
    await client.close()
    await client.close()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "workd-replies"] == []
