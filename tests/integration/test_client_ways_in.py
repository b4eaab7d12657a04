"""TLS, unix socket, user and password: every client and the daemon get in, and nobody waits longer than he said."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.clients import KINDS, AnyClient, resolved
from support.daemons import DaemonProcess
from support.tls import SecureServer, certificate, secure_server
from support.waiting import eventually
from workd import AsyncClient, Client, RedisPool
from workd.broker.session import Session
from workd.errors import ServerUnavailableError
from workd_tasks.samples import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = ("tls_url", "named_url", "tcp_url", "unix_url")

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    """A server behind TLS and a password, with one daemon that came in by TLS."""
    folder = tmp_path_factory.mktemp("secure")
    with (
        secure_server(folder) as secure,
        DaemonProcess(secure.tls_url, folder, modules=("workd_tasks.samples",)) as daemon,
    ):
        daemon.wait_ready()
        yield secure
        daemon.term()
        assert daemon.wait() == 0
        assert "s3cret" not in daemon.log_text()


@both
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_gets_in_and_its_job_is_run(kind: str, way: str, secure: SecureServer) -> None:
    async with AnyClient(kind, getattr(secure, way)) as client:
        handles = [
            await client.call("enqueue", numbers.square, 4),
            *await client.call("enqueue_many", numbers.square, [(5,)]),
        ]
        assert [await resolved(handle.get(timeout=20)) for handle in handles] == [16, 25]


@pytest.mark.parametrize("way", WAYS)
def test_a_pool_gets_in_and_maps(way: str, secure: SecureServer) -> None:
    with RedisPool(getattr(secure, way)) as pool:
        assert pool.map_async(numbers.square, range(20)).get(timeout=20) == [x * x for x in range(20)]


@pytest.mark.parametrize("way", ["tcp_url", "unix_url"])
def test_a_daemon_gets_in(way: str, secure: SecureServer, tmp_path: Path) -> None:
    modules = ("workd_tasks.samples",)
    with DaemonProcess(getattr(secure, way), tmp_path, modules=modules, queues="other") as daemon:
        daemon.wait_ready()
        with Client(secure.tls_url, queue="other") as client:
            assert client.enqueue("square", 4).get(timeout=20) == 16


def test_a_fork_leaves_the_parents_encrypted_connection_alone(secure: SecureServer) -> None:
    with Client(secure.tls_url) as client:
        assert client.enqueue(numbers.square, 3).get(timeout=20) == 9
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that a fork with threads is dangerous is the point
            child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if client.enqueue(numbers.square, 4).get(timeout=20) == 16 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.enqueue(numbers.square, 5).get(timeout=20) == 25


@both
@pytest.mark.parametrize(
    ("wrong", "said"),
    [("password", "refused the connection: .*redis_url"), ("authority", "no connection .*certificate verify failed")],
)
async def test_who_is_not_let_in_is_told_at_once_and_nothing_is_sent(
    kind: str, wrong: str, said: str, secure: SecureServer, tmp_path: Path
) -> None:
    if wrong == "password":
        url = secure.tls_url.replace("s3cret", "guess")
    else:
        url = secure.tls_url.replace(str(secure.authority), str(certificate(tmp_path).certificate))
    async with AnyClient(kind, url) as client:
        with pytest.raises(ServerUnavailableError, match=rf"{said}.* was not sent$") as caught:
            await client.call("enqueue", "square", 4, options={"retries": 0})
    assert "guess" not in str(caught.value)


# ── deadlines ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port behind which nobody answers a knock: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        knocking = []
        for _ in range(3):
            knock = socket.socket()
            knock.setblocking(False)
            knock.connect_ex(listener.getsockname())
            knocking.append(knock)
        yield listener.getsockname()[1]
        for knock in knocking:
            knock.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Have the name `many.test` stand for 127.0.0.1 at each of these ports."""
    ask = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **named: Any) -> Any:
        if host != "many.test":
            return ask(host, *arguments, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@both
async def test_a_name_of_many_addresses_costs_one_deadline(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf_port() as deaf:
        resolve_to(monkeypatch, *[deaf] * 6)
        async with AnyClient(kind, f"redis://many.test:{deaf}/0", deadline_s=1.5) as client:
            began = time.monotonic()
            with pytest.raises(ServerUnavailableError, match="was not sent"):
                await client.call("enqueue", "square", 4)
            assert time.monotonic() - began < 6


@both
async def test_a_resolver_that_hangs_costs_the_deadline_and_one_thread(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, released, asked = socket.getaddrinfo, threading.Event(), []

    def answer(host: Any, *arguments: Any, **named: Any) -> Any:
        if host != "slow.test":
            return ask(host, *arguments, **named)
        asked.append(host)
        released.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "nobody knows")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    try:
        async with AnyClient(kind, "redis://slow.test:6379/0", deadline_s=0.5) as client:
            for _ in range(3):
                with pytest.raises(ServerUnavailableError, match="was not sent"):
                    await client.call("enqueue", "square", 4)
            assert eventually(lambda: asked)
            assert kind == "async" or asked == ["slow.test"]
            released.set()
        async with AnyClient(kind, "redis://slow.test:6379/0", deadline_s=20) as client:
            with pytest.raises(ServerUnavailableError, match="nobody knows"):
                await client.call("enqueue", "square", 4, options={"retries": 0})
    finally:
        released.set()
    eventually(lambda: not any(thread.name == "workd-lookup" for thread in threading.enumerate()))


@both
async def test_an_address_behind_which_nobody_answers_leaves_time_for_the_next(
    kind: str, monkeypatch: pytest.MonkeyPatch, secure: SecureServer
) -> None:
    with deaf_port() as deaf:
        resolve_to(monkeypatch, deaf, secure.server.port)
        url = secure.tcp_url.replace("127.0.0.1", "many.test")
        async with AnyClient(kind, url, deadline_s=3.0) as client:
            handle = await client.call("enqueue", numbers.square, 4, options={"retries": 0})
            assert await resolved(handle.status()) in {"queued", "running", "succeeded"}


@both
async def test_tls_that_stalls_after_a_slow_connection_costs_one_deadline(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deaf_port() as deaf, socket.create_server(("127.0.0.1", 0)) as silent:
        resolve_to(monkeypatch, deaf, silent.getsockname()[1])
        async with AnyClient(kind, f"rediss://many.test:{deaf}/0", deadline_s=6.0, retries=0) as client:
            began = time.monotonic()
            with pytest.raises(ServerUnavailableError, match="was not sent"):
                await client.call("enqueue", "square", 4)
            assert time.monotonic() - began < 8.4


@both
async def test_tls_whose_handshake_comes_in_crumbs_costs_the_deadline(kind: str) -> None:
    def crumbs() -> None:
        near, _ = listener.accept()
        with near:
            near.recv(4096)
            near.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB, which takes long
            while not done.wait(0.1):
                near.sendall(b"\x02")

    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=crumbs)
        thread.start()
        url = f"rediss://127.0.0.1:{listener.getsockname()[1]}/0"
        async with AnyClient(kind, url, deadline_s=0.5, retries=0) as client:
            began = time.monotonic()
            with pytest.raises(ServerUnavailableError, match="was not sent"):
                await client.call("enqueue", "square", 4)
            assert time.monotonic() - began < 10
        done.set()
        thread.join()


@pytest.mark.parametrize("opened", ["client", "session"])
async def test_an_encrypted_connection_is_closed_at_once_though_the_server_says_no_goodbye(
    opened: str, tmp_path: Path
) -> None:
    with secure_server(tmp_path) as secure:
        mine = ("127.0.0.1", secure.tls_port)
        if opened == "client":
            client = AsyncClient(secure.tls_url)
            await client.enqueue("square", 4)
            close = client.close
        else:
            close = (await Session.open(secure.tls_url, "me", 15.0)).close
        assert mine in peers()
        secure.server.pause()
        try:
            await close()
            await asyncio.sleep(0)  # the loop closes a socket in its next turn
            assert mine not in peers()
        finally:
            secure.server.resume()


def peers() -> set[object]:
    """Say whom the sockets of this process are connected to."""
    found: set[object] = set()
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            found.add(sock.getpeername())
    return found
