"""What is read out of a server's word about itself, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from workd.broker.checks import Facts, read, too_old, warnings

GOOD = Facts("Redis", (7, 0, 15), "noeviction", has_aof=True, has_snapshots=True, replicas=1, min_replicas=1)


def info(**said: object) -> bytes:
    return b"# Server\r\n" + b"".join(f"{name}:{value}\r\n".encode() for name, value in said.items())


@pytest.mark.parametrize(
    "config",
    [[b"save", b"3600 1", b"min-replicas-to-write", b"1"], {b"save": b"3600 1", b"min-replicas-to-write": b"1"}],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_both_protocols_say_the_same(config: Any, *, as_text: bool) -> None:
    reply: Any = info(redis_version="7.0.15", maxmemory_policy="noeviction", aof_enabled=1, connected_slaves=1)
    assert read(reply.decode() if as_text else reply, config) == GOOD


def test_of_what_is_refused_nothing_is_known_and_nothing_is_said() -> None:
    facts = read(None, None)
    assert facts == Facts()
    assert too_old(facts) is None
    assert warnings(facts, by_sentinels=True, in_cluster=True) == ()
    no_config = read(info(aof_enabled=0), None)
    assert warnings(no_config) == ()  # there may be snapshots


@pytest.mark.parametrize(
    ("said", "old"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old: workd needs Redis 7.0 or Valkey 7.2, or later"),
        ({"redis_version": "7.0"}, None),
        ({"redis_version": "8.4.0-rc1"}, None),
        ({"redis_version": "10.1.0"}, None),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, None),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "7.1.0"}, "Valkey 7.1.0 is too old"),
        ({"redis_version": "unheard of"}, None),
    ],
)
def test_a_server_that_is_too_old_is_told_so(said: dict[str, str], old: str | None) -> None:
    told = too_old(read(info(**said), None))
    assert told is None if old is None else told is not None and told.startswith(old)


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"eviction": "allkeys-lru"}, {}, "maxmemory-policy is allkeys-lru: a full Redis deletes whole queues"),
        ({"eviction": "volatile-ttl"}, {}, "deletes outcomes and claims of ids before their time; set it to noev"),
        ({"has_aof": False, "has_snapshots": False}, {}, "writes nothing to disk: its restart loses every job"),
        ({"replicas": 0}, {"by_sentinels": True}, "the master has no replica"),
        ({"replicas": 0}, {"in_cluster": True}, "the master has no replica"),
        ({"min_replicas": 0}, {"by_sentinels": True}, "min-replicas-to-write is 0"),
    ],
)
def test_each_setting_that_can_cost_jobs_is_one_text(changes: Any, where: Any, said: str) -> None:
    facts = Facts(**({name: getattr(GOOD, name) for name in Facts.__slots__} | changes))
    [text] = warnings(facts, **where)
    assert said in text


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, {"by_sentinels": True}),
        ({}, {"in_cluster": True}),
        ({"has_aof": False}, {}),
        ({"has_snapshots": False}, {}),
        ({"replicas": 0, "min_replicas": 0}, {}),
        ({"min_replicas": 0}, {"in_cluster": True}),
    ],
)
def test_what_is_right_is_passed_over_in_silence(changes: Any, where: Any) -> None:
    facts = Facts(**({name: getattr(GOOD, name) for name in Facts.__slots__} | changes))
    assert warnings(facts, **where) == ()
