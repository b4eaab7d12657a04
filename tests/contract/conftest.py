"""The stores of the contract: all that a rule of the engine has to hold on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.stores import Store
from workd.broker import keys

if TYPE_CHECKING:
    from support.server_sets import Cluster, SentinelSet


@pytest.fixture(params=["fakeredis", "redis", "valkey", "redis by RESP3", "valkey by RESP3", "sentinels", "cluster"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn, with nothing in it, for what must hold on all of them."""
    kind, _, by_resp3 = request.param.partition(" by ")
    if kind == "fakeredis":
        return Store("fakeredis")
    if kind == "sentinels":
        sentinels: SentinelSet = request.getfixturevalue("sentinels")
        return Store(kind, sentinels.master, sentinels.url)
    if kind == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        return Store(kind, cluster.node_of(keys.stream("default")), cluster.url)
    server = request.getfixturevalue("redis_server" if kind == "redis" else "valkey")
    return Store(kind, server, f"{server.unix_url}&protocol=3" if by_resp3 else "")


@pytest.fixture(params=["redis", "valkey", "redis by RESP3", "valkey by RESP3"])
def real_store(request: pytest.FixtureRequest) -> Store:
    """Both real servers in turn, by both protocols: for what fakeredis cannot do, such as block."""
    kind, _, by_resp3 = request.param.partition(" by ")
    server = request.getfixturevalue("redis_server" if kind == "redis" else "valkey")
    return Store(kind, server, f"{server.unix_url}&protocol=3" if by_resp3 else "")
