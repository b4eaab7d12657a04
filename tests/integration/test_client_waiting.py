"""Many handles waited for together, by both kinds of client."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from support.clients import KINDS, AnyClient, resolved
from support.fake_daemon import Duplicate, FakeDaemon
from support.waiting import eventually_async
from workd.broker import keys
from workd.errors import ResultGoneError, ResultTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from support.servers import Server

both = pytest.mark.parametrize("kind", KINDS)


class Gates:
    """Jobs `hold` wait until their gate is opened."""

    def __init__(self) -> None:
        self._gates = {"later": threading.Event()}

    def of(self, name: str) -> threading.Event:
        return self._gates[name]

    def open_all(self) -> None:
        for gate in self._gates.values():
            gate.set()


@pytest.fixture
def gates() -> Iterator[Gates]:
    gates = Gates()
    yield gates
    gates.open_all()


@pytest.fixture
def daemon(server: Server, gates: Gates) -> Iterator[FakeDaemon]:
    def fail() -> None:
        raise KeyError("no such thing")

    def duplicate() -> None:
        raise Duplicate("held by another job")

    def hold(name: str) -> str:
        assert gates.of(name).wait(20)
        return name

    tasks: dict[str, Callable[..., Any]] = {"hold": hold, "fail": fail, "duplicate": duplicate, "echo": lambda x: x}
    with FakeDaemon(server.client(), tasks) as daemon:
        yield daemon
        gates.open_all()


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, server: Server, daemon: FakeDaemon) -> AsyncIterator[AnyClient]:
    async with AnyClient(request.param, server.url) as client:
        yield client


async def completed(client: AnyClient, handles: list[Any], timeout: float | None = 20.0) -> list[Any]:
    """Collect what `as_completed` yields."""
    ending = client.client.as_completed(handles, timeout)
    if hasattr(ending, "__aiter__"):
        return [handle async for handle in ending]
    return list(ending)


async def test_all_are_waited_for_however_they_end(client: AnyClient) -> None:
    handles = [
        *await client.call("enqueue_many", "echo", [(x,) for x in range(30)]),
        await client.call("enqueue", "fail"),
    ]
    done, not_done = await client.call("wait", handles, timeout=20)
    assert (done, not_done) == (set(handles), set())
    assert [await resolved(handle.get(timeout=0)) for handle in handles[:-1]] == list(range(30))
    assert (await client.call("wait", handles)).done == set(handles)


async def test_the_first_that_ends_is_enough(client: AnyClient, gates: Gates) -> None:
    quick = await client.call("enqueue", "echo", 1)
    slow = await client.call("enqueue", "hold", "later")
    done, not_done = await client.call("wait", [slow, quick], 20, concurrent.futures.FIRST_COMPLETED)
    assert (done, not_done) == ({quick}, {slow})
    gates.of("later").set()
    assert (await client.call("wait", [slow], timeout=20)).done == {slow}


async def test_the_first_that_did_not_return_is_enough(client: AnyClient, gates: Gates) -> None:
    handles = [await client.call("enqueue", *job) for job in (("echo", 1), ("fail",), ("hold", "later"))]
    done, not_done = await client.call("wait", handles, timeout=20, return_when="FIRST_EXCEPTION")
    assert (done, not_done) == (set(handles[:2]), {handles[2]})


async def test_a_wait_that_is_too_short_tells_what_has_ended(client: AnyClient, gates: Gates) -> None:
    quick = await client.call("enqueue", "echo", 1)
    slow = await client.call("enqueue", "hold", "later")
    assert (await client.call("wait", [quick], timeout=20)).done == {quick}
    assert await client.call("wait", [quick, slow], timeout=0.05) == ({quick}, {slow})
    with pytest.raises(ResultTimeoutError, match=f"{slow.id}: no result within 0.05 s"):
        await completed(client, [quick, slow], 0.05)
    assert client.client.core.replies.waiting() == {}


async def test_each_is_yielded_as_it_ends(client: AnyClient, gates: Gates) -> None:
    slow = await client.call("enqueue", "hold", "later")
    ending = client.client.as_completed([slow, (ended := await client.call("enqueue", "echo", 1))], 20)
    # The fake daemon runs one job after the other: what comes first is what was put in first.
    gates.of("later").set()
    if hasattr(ending, "__aiter__"):
        assert [handle async for handle in ending] == [slow, ended]
    else:
        assert list(ending) == [slow, ended]


async def test_what_had_come_when_a_wait_was_left_is_known_to_its_handle(client: AnyClient, server: Server) -> None:
    warm = await client.call("enqueue", "echo", 0)
    await client.call("wait", [warm], timeout=20)  # from now on outcomes come as replies, each of them once
    handles = await client.call("enqueue_many", "echo", [(x,) for x in range(50)])
    await client.call("wait", handles, 20, "FIRST_COMPLETED")
    assert [await resolved(handle.get(timeout=20)) for handle in handles] == list(range(50))


async def test_jobs_that_somebody_else_enqueued_are_found(client: AnyClient, server: Server) -> None:
    async with AnyClient("sync", server.url) as other:
        ids = [handle.id for handle in await other.call("enqueue_many", "echo", [(x,) for x in range(700)])]
    handles = [client.client.result(job_id) for job_id in ids]
    own = await client.call("enqueue", "echo", -1)
    assert set(await completed(client, [*handles, own])) == {*handles, own}
    assert [await resolved(handle.get(timeout=0)) for handle in handles] == list(range(700))


async def test_a_duplicate_gets_the_first_ones_outcome(client: AnyClient) -> None:
    options = {"id": "order-7"}
    first = await client.call("enqueue", "echo", 1, options=options)
    await client.call("wait", [first], timeout=20)
    second = await client.call("enqueue", "echo", 2, options=options)
    assert await completed(client, [second]) == [second]
    assert await resolved(second.get()) == 1


async def test_two_handles_to_one_job_both_end(client: AnyClient) -> None:
    handle = await client.call("enqueue", "echo", 1)
    again = client.client.result(handle.id)
    assert set(await completed(client, [handle, again])) == {handle, again}


async def test_nothing_to_wait_for_is_over_at_once(client: AnyClient) -> None:
    assert await client.call("wait", []) == (set(), set())
    assert await completed(client, [], None) == []


async def test_what_cannot_be_waited_for_is_refused(client: AnyClient, server: Server) -> None:
    unkept = await client.call("enqueue", "echo", 1, options={"result_ttl": 0})
    with pytest.raises(ResultGoneError, match="result_ttl=0"):
        await client.call("wait", [unkept])
    with pytest.raises(ValueError, match="'SOME' is none of FIRST_COMPLETED"):
        await client.call("wait", [], return_when="SOME")
    async with AnyClient("sync", server.url) as other:
        handle = await other.call("enqueue", "echo", 1)
        with pytest.raises(ValueError, match="belongs to another client"):
            await client.call("wait", [handle])


async def test_a_reply_that_got_lost_is_found_at_the_next_look(
    client: AnyClient, server: Server, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in ("reader", "async_reader"):
        monkeypatch.setattr(f"workd.client.{reader}.REFRESH_S", 0.1)
    first = await client.call("enqueue", "echo", 0)
    await client.call("wait", [first], timeout=20)
    handle = await client.call("enqueue", "hold", "later")
    with server.client() as look:
        look.delete(keys.reply("default", client.client.core.replies.name))
    gates.of("later").set()
    assert await completed(client, [handle]) == [handle]


async def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """Do what waits, a synchronous client's in a thread."""
    return await (call if inspect.iscoroutinefunction(call) else partial(asyncio.to_thread, call))(*arguments)


@pytest.mark.parametrize("waiting", ["outcome", "wait"])
async def test_whoever_waits_when_the_client_is_closed_gets_his_result(
    client: AnyClient, gates: Gates, waiting: str
) -> None:
    await client.call("wait", [await client.call("enqueue", "echo", 0)], timeout=20)  # now outcomes come as replies
    slow = await client.call("enqueue", "hold", "later")
    call = apart(slow.outcome, 20) if waiting == "outcome" else apart(client.client.wait, [slow], 20)
    waiter = asyncio.ensure_future(call)
    assert await eventually_async(client.client.core.replies.waiting)
    await apart(client.client.close)
    gates.open_all()
    await waiter
    assert slow.known_outcome.value == "later"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", ["of its own", "of another queue", "of another client"])
async def test_a_server_that_stands_still_holds_nobody_beyond_his_timeout(
    client: AnyClient, server: Server, gates: Gates, what: str
) -> None:
    patience_s = 60.0  # the deadline of a call, which is not to count
    async with AnyClient(client.kind, server.url, deadline_s=patience_s) as patient:
        await patient.call("wait", [await patient.call("enqueue", "echo", 0)], timeout=20)  # its replies are read
        options = {"queue": "other"} if what == "of another queue" else None
        handle = await patient.call("enqueue", "hold", "later", options=options)
        if what == "of another client":
            handle = patient.client.result(handle.id)
        server.pause()
        try:
            with pytest.raises(ResultTimeoutError):
                await resolved(handle.get(0.05))
            assert await patient.call("wait", [handle], 0.05) == (set(), {handle})
            await patient.call("close")
        finally:
            server.resume()


async def test_a_result_is_found_by_a_client_that_was_closed(client: AnyClient, gates: Gates) -> None:
    slow = await client.call("enqueue", "hold", "later")
    await client.call("close")
    waiter = asyncio.ensure_future(apart(slow.get, 20))
    assert await eventually_async(client.client.core.replies.waiting)
    gates.open_all()
    assert await waiter == "later"
