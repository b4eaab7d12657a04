"""Fixtures that every test may use: real servers (started once a run, flushed for each test) and stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from support.servers import DEBIAN_REDIS, Server, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server_sets import Cluster, SentinelSet
    from support.stores import Store


@pytest.fixture(autouse=True)
def _no_logging_of_the_test_before() -> Iterator[None]:
    """Whether structlog is configured decides where the pool's lines go."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def valkey_process() -> Iterator[Server]:
    """One Valkey server for the whole run; take `valkey` in a test."""
    with Server(valkey_binary()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_process() -> Iterator[Server]:
    """One Redis server for the whole run; take `redis_server` in a test."""
    _require_debian_redis()
    with Server(DEBIAN_REDIS) as server:
        yield server


@pytest.fixture(scope="session")
def sentinel_processes() -> Iterator[SentinelSet]:
    """One Sentinel set for the whole run; take `sentinels` in a test."""
    from support.server_sets import SentinelSet

    _require_debian_redis()
    with SentinelSet() as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def cluster_processes() -> Iterator[Cluster]:
    """One Cluster for the whole run; take `cluster` in a test."""
    from support.server_sets import Cluster

    _require_debian_redis()
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def sentinels(sentinel_processes: SentinelSet) -> SentinelSet:
    """A Sentinel set with all of its servers, and nothing in them."""
    sentinel_processes.make_whole()
    emptied(sentinel_processes.master)
    return sentinel_processes


@pytest.fixture
def cluster(cluster_processes: Cluster) -> Cluster:
    """A Cluster with all of its nodes, and nothing in them."""
    cluster_processes.make_whole()
    for node in cluster_processes.masters():
        emptied(node)
    return cluster_processes


@pytest.fixture
def valkey(valkey_process: Server) -> Server:
    """A running Valkey with nothing in it."""
    return emptied(valkey_process)


@pytest.fixture
def redis_server(redis_process: Server) -> Server:
    """A running Redis (Debian's) with nothing in it."""
    return emptied(redis_process)


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Server:
    """Both real servers in turn, with nothing in them."""
    process: Server = request.getfixturevalue(f"{request.param}_process")
    return emptied(process)


@pytest.fixture(params=["fakeredis", "redis", "valkey"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the three stores in turn, with nothing in it, for what must hold on all of them."""
    from support.stores import Store

    if request.param == "fakeredis":
        return Store("fakeredis")
    process: Server = request.getfixturevalue(f"{request.param}_process")
    return Store(request.param, emptied(process))


@pytest.fixture
def real_store(server: Server) -> Store:
    """Both real servers in turn, as a store: for what fakeredis cannot do, such as block."""
    from support.stores import Store

    return Store(server.binary.name, server)


def _require_debian_redis() -> None:
    if not DEBIAN_REDIS.exists():
        pytest.skip(f"{DEBIAN_REDIS} is missing: install Debian's redis-server to run these tests on Redis too")


def emptied(server: Server) -> Server:
    """Remove all data, settings and counts that an earlier test may have left."""
    with server.client() as client:
        client.flushall()
        client.script_flush()
        client.config_set("maxmemory", 0)
        client.config_resetstat()
    return server
