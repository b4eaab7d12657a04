"""One command, one answer, one deadline: what a producer is told when that does not come true."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from support.scripted_server import HANG_UP, SILENCE, ScriptedServer
from workd.client.async_link import AsyncLink
from workd.client.link import Link
from workd.errors import EnqueueTimeoutError, ServerUnavailableError, SettingsError

ADD = ("XADD", "workd:{default}:stream", "*", "m", b"{}")
ID = b"$3\r\n1-0\r\n"


def nobodys_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


async def call(kind: str, url: str, *, deadline_s: float = 1.0, times: int = 1) -> object:
    """Send ADD over the one or the other link."""
    answer: object = None
    if kind == "sync":
        link = Link(url, deadline_s)
        try:
            for _ in range(times):
                answer = link.call(ADD)
        finally:
            link.close()
        return answer
    async_link = AsyncLink(url, deadline_s)
    try:
        for _ in range(times):
            answer = await async_link.call(ADD)
    finally:
        await async_link.close()
    return answer


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
async def test_an_answer_is_returned_and_the_connection_is_used_again(kind: str) -> None:
    with ScriptedServer(lambda _: ID) as server:
        assert await call(kind, server.url, times=3) == b"1-0"
        assert len(server.commands) == 3


@both
async def test_nobody_listening_is_told_as_not_sent(kind: str) -> None:
    with pytest.raises(ServerUnavailableError, match="was not sent"):
        await call(kind, nobodys_url())


@both
async def test_a_server_that_never_answers_costs_the_deadline_and_no_more(kind: str) -> None:
    with ScriptedServer(lambda _: SILENCE) as server:
        began = time.monotonic()
        with pytest.raises(EnqueueTimeoutError, match=r"within 0.2 s: XADD .* whether it was run is not known"):
            await call(kind, server.url, deadline_s=0.2)
        assert 0.2 <= time.monotonic() - began < 10
        assert len(server.commands) == 1


@both
async def test_a_server_that_does_not_even_greet_is_told_as_not_sent(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}/0"
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError, match="was not sent") as caught:
            await call(kind, url, deadline_s=0.2)
        assert time.monotonic() - began < 10
        assert "secret" not in str(caught.value)


@both
async def test_a_connection_that_breaks_under_a_command_does_not_send_it_again(kind: str) -> None:
    with ScriptedServer(lambda _: HANG_UP) as server:
        with pytest.raises(ServerUnavailableError, match="whether it was run is not known"):
            await call(kind, server.url)
        assert len(server.commands) == 1


@both
async def test_a_connection_that_was_closed_while_idle_is_replaced_unseen(kind: str) -> None:
    with ScriptedServer(lambda _: ID) as server:
        if kind == "sync":
            link = Link(server.url, 1.0)
            link.call(ADD)
            link._idle[0].interrupt()
            assert link.call(ADD) == b"1-0"
            link.close()
        else:
            async_link = AsyncLink(server.url, 1.0)
            await async_link.call(ADD)
            await async_link._idle[0].disconnect()
            assert await async_link.call(ADD) == b"1-0"
            await async_link.close()
        assert len(server.commands) == 2


@both
@pytest.mark.parametrize(
    "refusal",
    [
        "-OOM command not allowed when used memory > 'maxmemory'.",
        "-LOADING Redis is loading the dataset in memory",
        "-READONLY You can't write against a read only replica.",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
        "-NOAUTH Authentication required.",
        "-NOPERM this user has no permissions to run the 'xadd' command",
    ],
)
async def test_a_refusal_says_that_nothing_was_changed(kind: str, refusal: str) -> None:
    with (
        ScriptedServer(lambda _: f"{refusal}\r\n".encode()) as server,
        pytest.raises(ServerUnavailableError, match=r"refused XADD .*nothing was changed") as caught,
    ):
        await call(kind, server.url)
    assert "workd:{default}:stream" in str(caught.value)


def test_a_connection_on_which_anything_went_wrong_is_not_kept() -> None:
    with ScriptedServer(lambda _: SILENCE) as server:
        link = Link(server.url, 0.05)
        with pytest.raises(EnqueueTimeoutError):
            link.call(ADD)
        assert link._idle == []
        link.close()


def test_several_commands_are_answered_in_order_and_the_first_refusal_is_raised() -> None:
    with ScriptedServer(lambda command: b"-ERR no\r\n" if command[0] == b"GET" else ID) as server:
        link = Link(server.url, 1.0)
        assert link.call_all([ADD, ADD]) == [b"1-0", b"1-0"]
        with pytest.raises(ServerUnavailableError, match="refused GET"):
            link.call_all([ADD, ("GET", "x"), ADD])
        assert link.call(ADD) == b"1-0"
        link.close()


@both
@pytest.mark.parametrize(
    "url",
    [
        "http://user:S3C@somewhere/0",
        "redis://user:S3C/RET@localhost:7102/0",
        "redis://user:S3C#RET@localhost:7102/0",
        "redis://user:S3C?RET@localhost:7102/0",
        "redis://:12/RET@localhost:7102/0",
        "redis://user:[S3C@localhost/0",
        "redis://user:S3C@localhost/0?no_such_parameter=1",
    ],
)
async def test_what_is_no_url_is_a_settings_error_without_the_password(kind: str, url: str) -> None:
    with pytest.raises(SettingsError, match=r"^redis_url: ") as caught:
        await call(kind, url)
    assert not {"S3C", "RET", "12"} & set(re.findall(r"\w+", str(caught.value)))
    assert caught.value.__suppress_context__


@both
async def test_a_server_that_does_not_speak_tls_costs_the_deadline_and_no_more(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rediss://127.0.0.1:{silent.getsockname()[1]}/0"
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=r"no connection .* was not sent") as caught:
            await asyncio.wait_for(asyncio.create_task(call(kind, url, deadline_s=0.2)), 20)
        assert time.monotonic() - began < 10
        assert ": ;" not in str(caught.value)


@both
@pytest.mark.parametrize(
    "refusal", ["-WRONGPASS invalid username-password pair or user is disabled.", "-NOAUTH Authentication required."]
)
async def test_a_server_that_does_not_let_us_in_is_told_as_a_refusal(kind: str, refusal: str) -> None:
    with (
        greeted_with(refusal) as url,
        pytest.raises(ServerUnavailableError, match=r"refused the connection: .*redis_url.* was not sent$") as caught,
    ):
        await call(kind, url)
    assert "secret" not in str(caught.value)
    assert ".;" not in str(caught.value)
    assert ". (" not in str(caught.value)


@contextmanager
def greeted_with(refusal: str) -> Iterator[str]:
    """A server that says this to whatever comes first on a connection."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(f"{refusal}\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://me:secret@127.0.0.1:{listener.getsockname()[1]}/0"
        thread.join()
