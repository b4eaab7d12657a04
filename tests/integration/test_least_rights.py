"""What each role may not do, on real servers: no command, no script and no way round it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import redis

from support.daemons import DaemonProcess
from support.jobs import QUEUE
from support.roles import PASSWORD, add_user, url_of
from support.waiting import eventually
from workd import Client, RedisPool, step
from workd import group as group_of
from workd.broker import keys
from workd_tasks import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

OTHER = "other"
SAMPLES = ("workd_tasks.samples",)

READS_AND_WRITES: dict[str, tuple[str | int, ...]] = {
    "the whole server goes": ("FLUSHALL",),
    "this database goes": ("FLUSHDB",),
    "its settings": ("CONFIG", "GET", "*"),
    "its settings changed": ("CONFIG", "SET", "appendonly", "no"),
    "its users": ("ACL", "LIST"),
    "a right for itself": ("ACL", "SETUSER", "producer", "+@all"),
    "its other clients": ("CLIENT", "LIST"),
    "others cut off": ("CLIENT", "KILL", "TYPE", "normal"),
    "what others send": ("MONITOR",),
    "which keys there are": ("KEYS", "*"),
    "the same step by step": ("SCAN", 0),
    "any key": ("RANDOMKEY",),
    "code that stays": ("FUNCTION", "LOAD", "#!lua name=x\nredis.register_function('x', function() return 1 end)"),
    "the server ended": ("SHUTDOWN", "NOSAVE"),
    "another master": ("REPLICAOF", "127.0.0.1", 1),
    "the jobs of the queue read": ("XRANGE", keys.stream(QUEUE), "-", "+"),
    "the jobs of the queue waited for": ("XREAD", "COUNT", 1, "STREAMS", keys.stream(QUEUE), "0"),
    "the jobs of the queue taken": ("XREADGROUP", "GROUP", "workd", "me", "STREAMS", keys.stream(QUEUE), ">"),
    "the stream deleted": ("DEL", keys.stream(QUEUE)),
    "the stream deleted later": ("UNLINK", keys.stream(QUEUE)),
    "the stream renamed": ("RENAME", keys.stream(QUEUE), keys.result(QUEUE, "x")),
    "the stream ended": ("PEXPIRE", keys.stream(QUEUE), 1),
    "the stream copied": ("COPY", keys.stream(QUEUE), keys.reply(QUEUE, "x")),
    "the stream trimmed": ("XTRIM", keys.stream(QUEUE), "MAXLEN", 0),
    "a job deleted": ("XDEL", keys.stream(QUEUE), "1-1"),
    "a job ended": ("XACK", keys.stream(QUEUE), "workd", "1-1"),
    "the group gone": ("XGROUP", "DESTROY", keys.stream(QUEUE), "workd"),
    "jobs in the inbox read": ("LRANGE", keys.inbox(QUEUE), 0, -1),
    "jobs in the inbox taken": ("LPOP", keys.inbox(QUEUE)),
    "an outcome forged": ("SET", keys.result(QUEUE, "1-1"), "{}"),
    "an outcome deleted": ("DEL", keys.result(QUEUE, "1-1")),
    "the dead letters read": ("XRANGE", keys.dead(QUEUE), "-", "+"),
    "a dead letter forged": ("XADD", keys.dead(QUEUE), "*", "m", "{}"),
    "what is scheduled": ("ZRANGE", keys.scheduled(QUEUE), 0, -1),
    "what is scheduled deleted": ("ZREM", keys.scheduled(QUEUE), "x"),
    "a lease": ("HSET", keys.leases(QUEUE), "me", 1),
    "the leases read": ("HGETALL", keys.leases(QUEUE)),
    "the queue paused": ("SET", keys.paused(QUEUE), "{}"),
    "an id claimed": ("SET", keys.seen(QUEUE, "x"), "1"),
    "a job cancelled": ("SET", keys.cancel(QUEUE, "x"), "1"),
    "daemons told": ("PUBLISH", keys.CONTROL, "{}"),
    "daemons listened to": ("SUBSCRIBE", keys.CONTROL),
    "which daemons there are": ("ZRANGE", keys.DAEMONS, 0, -1),
    "another queue fed": ("XADD", keys.stream(OTHER), "*", "m", "{}"),
    "another queue's inbox": ("RPUSH", keys.inbox(OTHER), "{}"),
    "another queue's outcomes": ("GET", keys.result(OTHER, "1-1")),
    "another queue's replies": ("XREAD", "COUNT", 1, "STREAMS", keys.reply(OTHER, "x"), "0"),
    "another program's key": ("GET", "session:17"),
    "another program's key written": ("SET", "session:17", "x"),
    "another program's key by one that is allowed": ("MGET", keys.result(QUEUE, "1-1"), "session:17"),
}

MORE_FOR_A_PUSHER: dict[str, tuple[str | int, ...]] = {
    "a job by the stream": ("XADD", keys.stream(QUEUE), "*", "m", "{}"),
    "the queue trimmed on the way": ("XADD", keys.stream(QUEUE), "MAXLEN", 0, "*", "m", "{}"),
    "a script": ("EVAL", "return 1", 0),
    "a group": ("HSET", keys.group(QUEUE, "g"), "added", 1),
}


def signed_in(server: Server, name: str) -> redis.Redis:
    return redis.Redis(port=server.port, username=name, password=PASSWORD, protocol=2, socket_timeout=10.0)


@pytest.fixture
def full(server: Server) -> Iterator[Any]:
    """A server with something in each of the places, seen by somebody who may do all."""
    with server.client() as client:
        client.xadd(keys.stream(QUEUE), {"m": "{}"}, id="1-1")
        client.xgroup_create(keys.stream(QUEUE), "workd", "0")
        client.rpush(keys.inbox(QUEUE), "{}")
        client.set(keys.result(QUEUE, "1-1"), "{}")
        client.set(keys.result(OTHER, "1-1"), "{}")
        client.xadd(keys.dead(QUEUE), {"m": "{}"})
        client.zadd(keys.scheduled(QUEUE), {"x": 1})
        client.hset(keys.leases(QUEUE), "you", "1")
        client.set("session:17", "secret")
        yield client


def content(client: Any) -> dict[bytes, bytes]:
    """Return all that is in the server, as bytes."""
    return {key: client.dump(key) for key in client.keys("*")}


@pytest.mark.parametrize("what", READS_AND_WRITES)
def test_a_producer_may_not(what: str, server: Server, full: Any) -> None:
    before = content(full)
    with signed_in(server, add_user(full, "producer", queues=(QUEUE,))) as producer:
        assert _refused(producer, *READS_AND_WRITES[what])
        assert _refused(producer, "EVAL", "return redis.call(unpack(ARGV))", 0, *READS_AND_WRITES[what])
    assert content(full) == before


@pytest.mark.parametrize("what", READS_AND_WRITES | MORE_FOR_A_PUSHER)
def test_a_pusher_may_not(what: str, server: Server, full: Any) -> None:
    before = content(full)
    with signed_in(server, add_user(full, "pusher", queues=(QUEUE,))) as pusher:
        assert _refused(pusher, *(READS_AND_WRITES | MORE_FOR_A_PUSHER)[what])
    assert content(full) == before


def _has_jobs(client: Any, daemon: DaemonProcess) -> bool:
    consumers = client.xinfo_consumers(keys.stream(QUEUE), keys.GROUP)
    return any(one["name"].decode() == daemon.daemon_id and one["pending"] for one in consumers)


def _refused(client: Any, *command: str | int) -> bool:
    """Say whether the server refused it for want of a right; anything else that it says is a finding."""
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.ResponseError as error:
        # Inside of a script the server words it anew, or knows the command as one that no script may call.
        words = ("no permission", "acl failure", "user executing the script can't", "not allowed from script")
        return any(word in str(error).lower() for word in words)
    return False


def test_a_producer_of_one_queue_may_enqueue_in_every_way_and_wait_for_what_becomes_of_it(
    server: Server, tmp_path: Path
) -> None:
    with server.client() as client:
        worker, name = add_user(client, "daemon"), add_user(client, "producer", queues=(QUEUE,))
        client.acl_log_reset()
        with (
            DaemonProcess(url_of(server, worker), tmp_path, modules=SAMPLES) as daemon,
            Client(url_of(server, name)) as sending,
            RedisPool(sending) as pool,
        ):
            daemon.wait_ready()
            assert sending.enqueue(samples.square, 4).get(timeout=10) == 16
            assert sending.with_options(unique="u", id="own").enqueue("square", 3).get(timeout=10) == 9
            assert sending.with_options(delay_s=0.2).enqueue(samples.square, 5).get(timeout=10) == 25
            assert pool.map(samples.square, range(20)) == [n * n for n in range(20)]
            assert (
                sending.enqueue_group(group_of(step("square", 1), step("square", 2))).summary(timeout=10).succeeded == 2
            )
            assert sending.enqueue_chain(step("square", 2), step("square")).get(timeout=10) == 16
            sending.enqueue("square", 1).progress()
            with signed_in(server, name) as raw, raw.pipeline() as pipeline:
                pipeline.rpush(
                    keys.inbox(QUEUE), json.dumps({"task": "square", "args": [6], "id": "in", "result_ttl": 60})
                )
                pipeline.execute()
            assert sending.result("in").get(timeout=10) == 36
            daemon.term()
            assert daemon.wait() == 0
        assert [entry["username"] for entry in client.acl_log() if entry["username"] == name] == []


def test_a_pusher_may_push_and_read_the_outcome(server: Server, tmp_path: Path) -> None:
    with server.client() as client:
        worker, name = add_user(client, "daemon"), add_user(client, "pusher", queues=(QUEUE,))
        with (
            DaemonProcess(url_of(server, worker), tmp_path, modules=SAMPLES) as daemon,
            signed_in(server, name) as pusher,
        ):
            daemon.wait_ready()
            pusher.rpush(keys.inbox(QUEUE), json.dumps({"task": "square", "args": [6], "id": "in", "result_ttl": 60}))
            raw = eventually(lambda: pusher.get(keys.result(QUEUE, "in")), timeout_s=15)
            assert json.loads(raw)["value"] == 36


def test_a_daemon_of_one_queue_runs_its_jobs_and_takes_over_those_of_another_and_may_touch_no_other_queue(
    server: Server, tmp_path: Path
) -> None:
    with server.client() as client:
        name = add_user(client, "daemon", queues=(QUEUE,))
        client.acl_log_reset()
        config = tmp_path / "workd.toml"
        config.write_text('[schedule.often]\ntask = "square"\nargs = [3]\ncron = "* * * * * *"\n')
        first = DaemonProcess(url_of(server, name), tmp_path, workers=1, modules=SAMPLES, config=config)
        second = DaemonProcess(url_of(server, name), tmp_path, workers=1, modules=SAMPLES, config=config)
        with Client(server.url) as sending, first, second:
            first.wait_ready()
            second.wait_ready()
            handles = [sending.enqueue("sleep", 1) for _ in range(8)]
            eventually(lambda: _has_jobs(client, first), timeout_s=15)
            first.kill()
            assert not sending.wait(handles, timeout=30).not_done
            slow = sending.enqueue("sleep", 60)
            eventually(lambda: slow.status() == "running", timeout_s=15)
            assert slow.cancel() == "asked"
            assert sending.enqueue_group(group_of(step("square", 1))).summary(timeout=30).succeeded == 1
            assert sending.enqueue_chain(step("square", 2), step("square")).get(timeout=30) == 16
            eventually(lambda: client.hlen(keys.cron(QUEUE)) == 1, timeout_s=15)
            second.term()
            assert second.wait() == 0
        assert [entry for entry in client.acl_log() if entry["username"] == name] == []
        with signed_in(server, name) as daemon:
            assert _refused(daemon, "XADD", keys.stream(OTHER), "*", "m", "{}")
            assert _refused(daemon, "GET", "session:17")
            assert _refused(daemon, "FLUSHALL")
