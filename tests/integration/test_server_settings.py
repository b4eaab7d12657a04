"""What a daemon says of the settings of its server, when it connects and when it connects again."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.ports import free_port
from support.scripted_server import ScriptedServer
from support.servers import DEBIAN_REDIS, Server, valkey_binary
from workd.broker.session import Session
from workd.consumer import REDIS_TROUBLE, SETTING_TROUBLE
from workd.errors import BrokerError, BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.server_sets import Cluster, SentinelSet


@pytest.fixture(params=["redis", "valkey"])
def kept(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own that writes to disk."""
    binary = DEBIAN_REDIS if request.param == "redis" else valkey_binary()
    if not binary.exists():
        pytest.skip(f"{binary} is missing")
    with Server(binary, appendonly=True) as server:
        yield server


async def asked(url: str) -> tuple[str, ...]:
    session = await Session.open(url, "me", 15.0, queue="default")
    try:
        return await session.check()
    finally:
        await session.close()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_server_that_writes_to_disk_and_evicts_nothing_is_all_right(kept: Server, protocol: int) -> None:
    assert await asked(f"{kept.url}?protocol={protocol}") == ()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_eviction_and_missing_persistence_are_two_warnings(kept: Server, protocol: int) -> None:
    with kept.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
    eviction, persistence = await asked(f"{kept.url}?protocol={protocol}")
    assert kept.url in eviction
    assert "allkeys-lru" in eviction
    assert "appendonly" in persistence
    with kept.client() as client:
        client.config_set("save", "3600 1")
    assert len(await asked(kept.url)) == 1


async def test_who_may_not_ask_is_told_nothing_and_is_no_error(kept: Server) -> None:
    with kept.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "+@all", "-config", "-info")
        assert await asked(kept.url.replace("127", "poor:pw@127")) == ()
        client.execute_command("ACL", "SETUSER", "poor", "+info")
        assert len(await asked(kept.url.replace("127", "poor:pw@127"))) == 1  # the policy is in INFO


async def test_fakeredis_knows_no_settings(request: pytest.FixtureRequest) -> None:
    from support.stores import Store

    async with Store("fakeredis").session() as session:
        assert await session.check() == ()


async def test_a_server_that_is_too_old_is_an_error_that_says_which_would_do() -> None:
    with ScriptedServer(_old) as server:
        session = await Session.open(server.url, "me", 15.0)
        with pytest.raises(
            BrokerError, match=r"Redis 6\.2\.14 is too old: workd needs Redis 7\.0 or Valkey 7\.2"
        ) as caught:
            await session.check()
        assert not isinstance(caught.value, BrokerUnavailableError)
        await session.close()


async def test_sentinels_and_clusters_have_replicas_to_look_at(sentinels: SentinelSet, cluster: Cluster) -> None:
    said = " ".join(await asked(sentinels.url))
    assert "min-replicas-to-write is 0" in said
    assert f"127.0.0.1:{sentinels.master.port}" in said  # which of them it is
    assert await asked(cluster.url) == ()
    with sentinels.client() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            assert await asked(sentinels.url) == ()
        finally:
            client.config_set("min-replicas-to-write", 0)


def test_a_daemon_says_it_once_and_again_only_when_it_changes(kept: Server, tmp_path: Path) -> None:
    with kept.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    http = f"127.0.0.1:{free_port()}"
    with DaemonProcess(kept.url, tmp_path, modules=("workd_tasks.samples",), http=http) as daemon:
        daemon.wait_ready()
        assert "allkeys-lru" in daemon.wait_log(SETTING_TROUBLE)["what"]
        with urllib.request.urlopen(f"http://{http}/readyz") as answer:
            assert "allkeys-lru" in json.load(answer)["warnings"][0]
        with kept.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            daemon.wait_log("connected to Redis", count=2)
            client.config_set("appendonly", "no")
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            daemon.wait_log("connected to Redis", count=3)
        assert len(daemon.log(SETTING_TROUBLE)) == 2


def test_a_daemon_waits_for_a_server_that_is_new_enough(tmp_path: Path) -> None:
    with ScriptedServer(_old) as server, DaemonProcess(server.url, tmp_path) as daemon:
        assert "is too old" in daemon.wait_log(REDIS_TROUBLE, timeout_s=20)["error"]
        assert daemon.alive


def _old(command: list[bytes]) -> bytes:
    said = b"redis_version:6.2.14\r\n"
    return b"$%d\r\n%s\r\n" % (len(said), said) if command[0] == b"INFO" else b"+PONG\r\n"
