"""The bad moods of a server: each a context in which it refuses us, and after which it is as before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import redis

from support.waiting import eventually

if TYPE_CHECKING:
    from support.servers import Server

USER: Final = "worker"
PASSWORD: Final = "open-sesame"
Mood: TypeAlias = Callable[["Server"], AbstractContextManager[None]]


def url_of(server: Server) -> str:
    """Return the server's address for a user of its own, whom the moods may turn against."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    return server.url.replace("://", f"://{USER}:{PASSWORD}@")


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """BUSY: somebody's script does not end, until SCRIPT KILL."""

    def run_for_ever() -> None:
        with server.client() as running, suppress(redis.RedisError):
            running.eval("while true do end", 0)

    with server.client() as client:
        client.config_set("busy-reply-threshold", 10)
        thread = threading.Thread(target=run_for_ever)
        thread.start()
        try:
            yield
        finally:
            eventually(lambda: not thread.is_alive() or _kill_script(client))
            thread.join()


@contextmanager
def killed_scripts(server: Server) -> Iterator[None]:
    """SCRIPT KILL, again and again, on a server that takes every script of a millisecond for one that hangs."""
    stop = threading.Event()

    def kill() -> None:
        with server.client() as killer:
            while not stop.wait(0.002):
                _kill_script(killer)

    with server.client() as client:
        client.config_set("busy-reply-threshold", 1)
        thread = threading.Thread(target=kill)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            client.config_set("busy-reply-threshold", 5000)


@contextmanager
def forgotten_scripts(server: Server) -> Iterator[None]:
    """NOSCRIPT: SCRIPT FLUSH, again and again."""
    stop = threading.Event()

    def flush() -> None:
        with server.client() as client:
            while not stop.wait(0.002):
                client.script_flush()

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def loading(server: Server) -> Iterator[None]:
    """LOADING: it reads its data again, slowly."""

    def reload() -> None:
        with server.client() as client, suppress(redis.RedisError):
            client.execute_command("DEBUG", "RELOAD")

    with server.client() as client:
        client.mset({f"ballast:{number}": "x" for number in range(1_000)})
        client.config_set("loading-process-events-interval-bytes", 1_024)
        client.config_set("key-load-delay", 2_000)  # microseconds
        thread = threading.Thread(target=reload)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            client.config_set("key-load-delay", 0)


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    """READONLY: it is a replica now."""
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def without_its_master(server: Server) -> Iterator[None]:
    """MASTERDOWN: it is a replica that serves nothing as long as its master is away."""
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        try:
            with read_only(server):
                yield
        finally:
            client.config_set("replica-serve-stale-data", "yes")


@contextmanager
def without_replicas(server: Server) -> Iterator[None]:
    """NOREPLICAS: it takes no writes while nobody copies them."""
    with _set(server, "min-replicas-to-write", 1, 0):
        yield


@contextmanager
def full(server: Server) -> Iterator[None]:
    """OOM command not allowed."""
    with _set(server, "maxmemory", 1, 0):
        yield


@contextmanager
def crowded(server: Server) -> Iterator[None]:
    """ERR max number of clients reached, for whoever connects, and everybody has to."""
    with server.client() as client:
        before = client.config_get("maxclients")["maxclients"]
        client.config_set("maxclients", 1)
        _cut(client)
        try:
            yield
        finally:
            client.config_set("maxclients", before)


@contextmanager
def another_password(server: Server) -> Iterator[None]:
    """WRONGPASS: the password was changed, and the connections were cut."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", USER, "resetpass", ">new")
        _cut(client)
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", USER, f">{PASSWORD}")


@contextmanager
def another_user(server: Server) -> Iterator[None]:
    """NOPERM: the user may not run scripts any more."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", USER, "-@scripting")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", USER, "+@scripting")


@contextmanager
def no_user(server: Server) -> Iterator[None]:
    """The user is deleted, and everything that was signed in as him is cut."""
    with server.client() as client:
        client.execute_command("ACL", "DELUSER", USER)
    try:
        yield
    finally:
        url_of(server)


@contextmanager
def cut_connections(server: Server) -> Iterator[None]:
    """CLIENT KILL."""
    with server.client() as client:
        _cut(client)
    yield


@contextmanager
def _set(server: Server, name: str, to: int, back: int) -> Iterator[None]:
    with server.client() as client:
        client.config_set(name, to)
        try:
            yield
        finally:
            client.config_set(name, back)


def _cut(client: Any) -> None:
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _kill_script(client: redis.Redis) -> bool:
    with suppress(redis.RedisError):
        client.script_kill()
    return False
