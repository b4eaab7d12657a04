"""A producer whose server stops, stands still or holds somebody else's keys."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.fake_daemon import FakeDaemon
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd.broker import keys
from workd.client import replies
from workd.client.sync import Client
from workd.errors import EnqueueTimeoutError, ServerUnavailableError
from workd_tasks import task


@task(name="it.troubled_square")
def square(x: int) -> int:
    return x * x


TASKS: dict[str, Callable[..., Any]] = {"it.troubled_square": square}


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def daemon(server: Server) -> Iterator[FakeDaemon]:
    with FakeDaemon(server.client(), TASKS) as daemon:
        yield daemon


def test_outcomes_nobody_took_in_time_are_found_all_the_same(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "KEPT_OUTCOMES", 3)
    client.enqueue(square, 0).get(timeout=20)
    handles = client.enqueue_many(square, ((x,) for x in range(20)))
    assert handles[-1].get(timeout=20) == 361
    assert [handle.get(timeout=20) for handle in handles] == [x * x for x in range(20)]


def test_a_reply_key_of_the_wrong_type_only_makes_results_slower(
    client: Client, daemon: FakeDaemon, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as other:
        other.set(keys.reply("default", client.core.replies.name), "somebody else's")
        assert client.enqueue(square, 4).get(timeout=20) == 16
        daemon.hold()
        handle = client.enqueue(square, 5)
        threading.Timer(0.1, daemon.release).start()
        assert handle.get(timeout=20) == 25
        assert other.get(keys.reply("default", client.core.replies.name)) == b"somebody else's"
    # The reader looks for results before it complains, and may have found this one before it could.
    eventually(lambda: any("results come late" in record.message for record in caplog.records))


def test_a_stream_key_of_the_wrong_type_is_named(client: Client, server: Server) -> None:
    with server.client() as other:
        other.set(keys.stream("default"), "somebody else's")
    with pytest.raises(ServerUnavailableError, match=r"workd:\{default\}:stream.*WRONGTYPE"):
        client.enqueue(square, 4)
    with pytest.raises(ServerUnavailableError, match=r"workd:\{default\}:stream.*WRONGTYPE"):
        client.enqueue_many(square, [(4,)])


def test_a_reply_stream_that_was_deleted_is_made_again(
    client: Client, daemon: FakeDaemon, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workd.client.reader.REFRESH_S", 0.1)
    assert client.enqueue(square, 4).get(timeout=20) == 16
    with server.client() as other:
        other.delete(keys.reply("default", client.core.replies.name))
    for x in range(5):
        assert client.enqueue(square, x).get(timeout=20) == x * x


def test_a_restarted_server_is_met_again_and_no_waiter_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Server(valkey_binary(), appendonly=True) as server,
        FakeDaemon(server.client(), TASKS) as daemon,
        Client(server.url) as client,
    ):
        assert client.enqueue(square, 4).get(timeout=20) == 16
        daemon.hold()
        handle = client.enqueue(square, 5)
        got: list[int] = []
        waiter = threading.Thread(target=lambda: got.append(handle.get(timeout=20)))
        waiter.start()
        server.stop()
        with pytest.raises(ServerUnavailableError, match="was not sent"):
            client.enqueue(square, 6)
        server.start()
        daemon.release()
        waiter.join()
        assert got == [25]
        assert client.enqueue(square, 6).get(timeout=20) == 36


def test_a_server_that_stands_still_costs_the_deadline(server: Server) -> None:
    with Client(server.url, deadline_s=1.0) as client:
        client.enqueue(square, 1)
        server.pause()
        began = time.monotonic()
        try:
            with pytest.raises(EnqueueTimeoutError, match="whether it was run is not known"):
                client.enqueue(square, 2)
            with pytest.raises(ServerUnavailableError):
                client.enqueue(square, 3)
        finally:
            server.resume()
        assert time.monotonic() - began < 6
        assert client.enqueue(square, 4).status() == "queued"


def test_waiting_goes_on_while_the_server_stands_still(server: Server, daemon: FakeDaemon) -> None:
    with Client(server.url, deadline_s=0.2) as client:
        client.enqueue(square, 1).get(timeout=20)
        daemon.hold()
        handle = client.enqueue(square, 5)
        server.pause()
        threading.Timer(0.5, server.resume).start()
        daemon.release()
        assert handle.get(timeout=20) == 25
