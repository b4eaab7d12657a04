"""An answer that gets lost: the call is sent again, and its jobs are queued once."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.clients import KINDS, AnyClient
from support.losing_proxy import SILENT, LosingProxy
from support.scripted_server import ScriptedServer
from workd import Client
from workd.broker import keys
from workd.client.commands import MESSAGES_PER_CALL
from workd.errors import ClientError, EnqueueTimeoutError, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server

STREAM = keys.stream("default")
SCRIPT = b"EVAL"

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def proxy(server: Server) -> Iterator[LosingProxy]:
    with LosingProxy(server) as proxy:
        yield proxy


def queued(server: Server) -> list[str]:
    with server.client() as look:
        rows: Any = look.xrange(STREAM)
        return [entry_id.decode() for entry_id, _ in rows]


def markers(server: Server) -> list[bytes]:
    with server.client() as look:
        found: Any = look.keys("workd:*:call:*")
        return list(found)


@both
async def test_a_job_whose_answer_was_lost_is_queued_once(kind: str, proxy: LosingProxy, server: Server) -> None:
    async with AnyClient(kind, proxy.url) as client:
        await client.call("enqueue", "square", 1)
        proxy.lose(2, SCRIPT)
        handle = await client.call("enqueue", "square", 2)
        again = await client.call("enqueue", "square", 3)
        assert proxy.carried == 2
        assert queued(server)[1:] == [handle.id, again.id]


@both
async def test_many_jobs_whose_answer_was_lost_are_queued_once_and_keep_their_ids(
    kind: str, proxy: LosingProxy, server: Server
) -> None:
    async with AnyClient(kind, proxy.url) as client:
        await client.call("enqueue", "square", 1)  # the server has the script from now on
        proxy.lose(1, SCRIPT)
        handles = await client.call("enqueue_many", "square", [(x,) for x in range(2 * MESSAGES_PER_CALL + 5)])
        assert proxy.carried == 1
        assert queued(server)[1:] == [handle.id for handle in handles]


@both
async def test_an_answer_that_never_comes_is_asked_for_again_within_the_one_deadline(
    kind: str, proxy: LosingProxy, server: Server
) -> None:
    async with AnyClient(kind, proxy.url, deadline_s=8.0) as client:
        await client.call("enqueue", "square", 1)
        proxy.lose(1, SCRIPT, SILENT)
        handle = await client.call("enqueue", "square", 2)
        assert queued(server)[1:] == [handle.id]


@both
async def test_a_call_that_is_given_up_says_that_it_may_have_been_done(
    kind: str, proxy: LosingProxy, server: Server
) -> None:
    async with AnyClient(kind, proxy.url, retries=1) as client:
        await client.call("enqueue", "square", 1)
        proxy.lose(2, SCRIPT)
        with pytest.raises(ServerUnavailableError, match="whether it was run is not known") as caught:
            await client.call("enqueue", "square", 2)
        assert caught.value.in_doubt
        assert proxy.carried == 2
        assert len(queued(server)) == 2
        handle = await client.call("enqueue", "square", 3)
        assert queued(server)[2:] == [handle.id]


@both
async def test_all_attempts_together_cost_the_deadline_and_no_more(
    kind: str, proxy: LosingProxy, server: Server
) -> None:
    async with AnyClient(kind, proxy.url, deadline_s=0.4, retries=50) as client:
        await client.call("enqueue", "square", 1)
        proxy.lose(100, SCRIPT, SILENT)
        began = time.monotonic()
        with pytest.raises(EnqueueTimeoutError, match=r"within 0.4 s") as caught:
            await client.call("enqueue", "square", 2)
        assert time.monotonic() - began < 5
        assert caught.value.in_doubt
        assert len(queued(server)) == 2


@both
@pytest.mark.parametrize("many", [False, True])
async def test_without_retries_a_call_is_sent_once_and_leaves_no_marker(
    kind: str, proxy: LosingProxy, server: Server, many: bool
) -> None:
    async with AnyClient(kind, proxy.url, retries=0) as client:
        await client.call("enqueue_many", "square", [(0,), (1,)])
        proxy.lose(1, SCRIPT if many else b"XADD")
        calling = ("enqueue_many", "square", [(2,), (3,)]) if many else ("enqueue", "square", 2)
        with pytest.raises(ServerUnavailableError, match="whether it was run is not known"):
            await client.call(*calling)
        assert proxy.carried == 1
        assert len(queued(server)) == (4 if many else 3)
        assert markers(server) == []


@both
async def test_markers_do_not_pile_up_and_have_an_end(kind: str, server: Server) -> None:
    async with AnyClient(kind, server.url) as client:
        for x in range(20):
            await client.call("enqueue", "square", x)
        [marker] = markers(server)
        with server.client() as look:
            assert 0 < look.pttl(marker) <= 32_000


def test_a_forked_child_sends_from_lanes_of_its_own(server: Server) -> None:
    with Client(server.url) as client:
        ids = [client.enqueue("square", 1).id]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                client.enqueue("square", 2)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ids.append(client.enqueue("square", 3).id)
    found = queued(server)
    assert len(found) == 3
    assert [found[0], found[2]] == ids


@both
async def test_a_server_that_starts_anew_is_waited_for_within_the_deadline(kind: str) -> None:
    answers = [b"-LOADING Redis is loading the dataset in memory\r\n", b"*1\r\n$3\r\n1-0\r\n"]
    with ScriptedServer(lambda _: answers.pop(0)) as scripted:
        async with AnyClient(kind, scripted.url) as client:
            assert (await client.call("enqueue", "square", 2)).id == "1-0"
        assert len(scripted.commands) == 2
        assert scripted.commands[0] == scripted.commands[1]


@both
@pytest.mark.parametrize("refusal", [b"-OOM command not allowed\r\n", b"-NOPERM no\r\n", b"-WRONGTYPE no\r\n"])
async def test_a_refusal_that_will_not_pass_is_told_at_once(kind: str, refusal: bytes) -> None:
    with ScriptedServer(lambda _: refusal) as scripted:
        async with AnyClient(kind, scripted.url) as client:
            with pytest.raises(ServerUnavailableError, match="nothing was changed") as caught:
                await client.call("enqueue", "square", 2)
        assert not caught.value.in_doubt
        assert len(scripted.commands) == 1


@both
async def test_the_status_of_a_job_is_asked_for_again(kind: str, proxy: LosingProxy, server: Server) -> None:
    async with AnyClient(kind, proxy.url) as client:
        handle = await client.call("enqueue", "square", 2)
        proxy.lose(2, b"GET")
        status = handle.status()
        assert (status if kind == "sync" else await status) == "queued"
        assert proxy.carried == 2


@both
@pytest.mark.parametrize(
    "options", [{"retries": -1}, {"retries": 1.5}, {"retries": True}, {"retries": 101}, {"durable_replicas": 1}]
)
async def test_what_cannot_be_meant_is_refused_with_the_options_name(kind: str, options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(ClientError, match=f"^{name}: "):
        AnyClient(kind, "redis://127.0.0.1:1/0", **options)
    async with AnyClient(kind, "redis://127.0.0.1:1/0") as client:
        with pytest.raises(ClientError, match=f"^{name}: "):
            client.client.with_options(**options)
