"""What `workd acl` prints, given to real servers, and the commands for people as the users that it makes."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import redis

from support.daemons import DaemonProcess
from support.deployed import DEPLOY
from support.jobs import QUEUE
from support.servers import DEBIAN_REDIS, Server, valkey_binary
from support.waiting import eventually
from workd import Client
from workd.broker import keys, rights
from workd.cli import app
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SAMPLES = ("workd_tasks.samples",)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def workd(*words: str, url: str = "", check: bool = True) -> Done:
    """Call a command in this process: a start of Python for each would take a busy machine minutes."""
    out, err = io.StringIO(), io.StringIO()
    said = {name: value for name, value in os.environ.items() if not name.startswith("WORKD_")}
    with (
        mock.patch.dict(os.environ, said | ({"WORKD_REDIS_URL": url} if url else {}), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        done = Done(app.call(list(words)), out.getvalue(), err.getvalue())
    assert not check or done.returncode == Exit.OK, done.stderr
    return done


class Guarded:
    """A server that was started with an ACL file of `workd acl`, and the passwords that go with it."""

    def __init__(self, server: Server, passwords: Mapping[str, str]) -> None:
        self.server = server
        self.passwords = passwords

    def url(self, user: str) -> str:
        return self.server.url.replace("://", f"://{user}:{self.passwords[user]}@")

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user), protocol=2)


@pytest.fixture(params=["redis", "valkey"], scope="module")
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    binary = DEBIAN_REDIS if request.param == "redis" else valkey_binary()
    if not binary.exists():
        pytest.skip(f"{binary} is missing")
    folder = tmp_path_factory.mktemp("acl")
    version = () if request.param == "redis" else ("--server-version", "7.2")
    made = workd("acl", "--passwords", str(folder / "passwords"), "--admin", *version)
    (folder / "users.acl").write_text(made.stdout)
    passwords = dict(line.split() for line in (folder / "passwords").read_text().splitlines())
    server = _Closed(binary, appendonly=True, extra=("--aclfile", str(folder / "users.acl")))
    server.admin_password = passwords["admin"]
    with server:
        yield Guarded(server, passwords)


class _Closed(Server):
    """A server that nobody enters without a password."""

    admin_password = ""

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, username="admin", password=self.admin_password, protocol=2)


@pytest.fixture
def empty(guarded: Guarded) -> Guarded:
    with guarded.server.client() as admin:
        admin.flushall()
    return guarded


def test_the_server_takes_the_file_and_nobody_enters_without_a_password(guarded: Guarded) -> None:
    names = {f"workd-{role}" for role in rights.COMMANDS}
    with guarded.server.client() as admin:
        assert set(admin.acl_users()) == names | {"admin", "default"}
    for name in names:
        with guarded.client(name) as client:
            assert client.ping()
    with redis.Redis(port=guarded.server.port, protocol=2) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
    with (
        redis.Redis(port=guarded.server.port, username="workd-daemon", password="wrong", protocol=2) as wrong,
        pytest.raises(redis.AuthenticationError),
    ):
        wrong.ping()


def test_commands_give_the_same_rights_to_a_server_that_runs_and_leave_its_passwords(guarded: Guarded) -> None:
    with guarded.server.client() as admin:
        before = admin.acl_list()
        newer = () if admin.info("server")["redis_version"].startswith("7.0.") else ("--server-version", "7.2")
        for line in workd("acl", "--format", "commands", *newer).stdout.splitlines():
            # As redis-cli sends what it reads: word by word, so a selector comes in pieces.
            assert admin.execute_command(*line.split()) in (b"OK", True)
        assert admin.acl_list() == before


def test_a_daemon_a_producer_and_whoever_looks_work_with_their_users_alone(empty: Guarded, tmp_path: Path) -> None:
    viewer, operator = empty.url("workd-viewer"), empty.url("workd-operator")
    with (
        DaemonProcess(empty.url("workd-daemon"), tmp_path, modules=SAMPLES) as daemon,
        Client(empty.url("workd-producer")) as sending,
        empty.server.client() as admin,
    ):
        daemon.wait_ready()
        assert sending.enqueue("square", 4).get(timeout=20) == 16
        failing = [sending.with_options(max_retries=0).enqueue("square", "no number") for _ in range(2)]
        assert not sending.wait(failing, timeout=20).not_done

        shown = json.loads(workd("status", "--json", url=viewer).stdout)
        assert [one["state"] for one in shown] == ["running"]
        queues = json.loads(workd("queues", "list", "--json", url=viewer).stdout)
        assert [one["name"] for one in queues] == [QUEUE]
        assert len(json.loads(workd("dead", "list", "--json", url=viewer).stdout)) == 2
        later = sending.with_options(delay_s=600).enqueue("square", 2)
        eventually(lambda: admin.zcard(keys.scheduled(QUEUE)) == 1, timeout_s=20)
        for words in (
            ("queues", "pause", QUEUE, "--reason", "x"),
            ("queues", "purge", QUEUE, "--yes"),
            ("dead", "replay", "--all"),
            ("dead", "purge", "--all", "--yes"),
            ("cancel", "some-job"),
            ("enqueue", "square", "1"),
        ):
            done = workd(*words, url=viewer, check=False)
            assert done.returncode == Exit.REDIS, (words, done)
            assert "refused" in done.stderr, words
        assert admin.xlen(keys.dead(QUEUE)) == 2
        assert not admin.exists(keys.paused(QUEUE))

        entry = admin.xrange(keys.dead(QUEUE))[0][0].decode()
        workd("dead", "show", entry, url=operator)
        workd("dead", "purge", entry, "--yes", url=operator)
        assert workd("dead", "replay", "--all", url=operator).stdout.startswith("replayed 1")
        workd("queues", "pause", QUEUE, "--reason", "x", url=operator)
        workd("queues", "resume", QUEUE, url=operator)
        workd("queues", "purge", QUEUE, "--scheduled", "--yes", url=operator)
        assert later.outcome(timeout=20).status == "cancelled"
        unserved = sending.with_options(queue="unserved")
        workd("cancel", unserved.enqueue("square", 1).id, "--queue", "unserved", url=operator)
        unserved.enqueue("square", 1)
        assert "moved 1" in workd("queues", "move", "unserved", "other", "--yes", url=operator).stdout
        assert "purged 1" in workd("queues", "purge", "other", "--yes", url=operator).stdout
        slow = sending.enqueue("sleep", 60)
        eventually(lambda: _is_pending(admin, slow.id), timeout_s=20)
        workd("cancel", slow.id, url=operator)
        assert slow.wait(timeout=20)
        daemon.term()
        assert daemon.wait() == 0
    assert "NOPERM" not in daemon.log_text()
    assert "permission" not in daemon.log_text()
    assert not any(password in daemon.log_text() for password in empty.passwords.values())


def test_jobs_that_wait_for_the_disk_need_no_more_than_a_producer_has(empty: Guarded, tmp_path: Path) -> None:
    with empty.server.client() as admin:
        if "valkey_version" not in admin.info("server"):
            pytest.skip("Redis 7.0 has no WAITAOF")
    with Client(empty.url("workd-producer")) as sending:
        assert sending.with_options(durable=True).enqueue("square", 4).id


def test_what_keda_asks_is_answered_to_a_viewer(empty: Guarded) -> None:
    """The triggers of deploy/kubernetes: the length of the stream, and of a list or a sorted set by a script."""
    count = """
        local kind = redis.call('type', KEYS[1]).ok
        return redis.call(({zset = 'zcard', list = 'llen', none = 'llen'})[kind], KEYS[1])
    """
    with empty.client("workd-viewer") as viewer, empty.server.client() as admin:
        assert viewer.xlen(keys.stream(QUEUE)) == 0
        assert viewer.eval(count, 1, keys.scheduled(QUEUE)) == 0
        admin.xadd(keys.stream(QUEUE), {"m": "{}"})
        admin.zadd(keys.scheduled(QUEUE), {"a": 1, "b": 2})
        admin.rpush(keys.inbox(QUEUE), "{}")
        assert viewer.xlen(keys.stream(QUEUE)) == 1
        assert viewer.eval(count, 1, keys.scheduled(QUEUE)) == 2
        assert viewer.eval(count, 1, keys.inbox(QUEUE)) == 1


def test_the_length_of_a_stream_is_known_when_the_lag_of_its_group_is_not(empty: Guarded) -> None:
    """Why the autoscaler asks for the length: a job that was taken out of the queue makes Redis lose count."""
    with empty.server.client() as admin, Client(empty.url("workd-client")) as sending:
        admin.xgroup_create(keys.stream(QUEUE), keys.GROUP, "0", mkstream=True)
        jobs = sending.enqueue_many("square", [(n,) for n in range(3)])
        admin.xreadgroup(keys.GROUP, "me", {keys.stream(QUEUE): ">"}, count=1)
        assert _lag(admin) == 2
        assert jobs[1].cancel() == "cancelled"
        assert _lag(admin) is None
        assert admin.xlen(keys.stream(QUEUE)) == 2


def _lag(client: Any) -> int | None:
    lag: int | None = client.xinfo_groups(keys.stream(QUEUE))[0]["lag"]
    return lag


def test_a_viewer_asks_daemons_and_only_an_operator_orders_them(empty: Guarded, tmp_path: Path) -> None:
    with DaemonProcess(empty.url("workd-daemon"), tmp_path, modules=SAMPLES) as daemon:
        daemon.wait_ready()
        assert workd("inspect", "--json", url=empty.url("workd-viewer")).stdout.startswith(("[", "{"))
        refused = workd("scale", "1", url=empty.url("workd-viewer"), check=False)
        assert refused.returncode == Exit.REDIS, refused
        workd("scale", "1", url=empty.url("workd-operator"))
        daemon.term()
        assert daemon.wait() == 0


def _is_pending(client: Any, entry: str) -> bool:
    return bool(client.xpending_range(keys.stream(QUEUE), keys.GROUP, entry, entry, 1))


def test_the_fragment_of_settings_is_one_that_servers_take(tmp_path: Path) -> None:
    fragment = DEPLOY / "redis" / "workd.conf"
    for binary in (DEBIAN_REDIS, valkey_binary()):
        if not binary.exists():
            continue
        with Server(binary, extra=("--include", str(fragment))) as server, server.client() as client:
            told: dict[str, str] = client.config_get("maxmemory-policy", "appendfsync", "timeout", "appendonly")
            assert told == {
                "maxmemory-policy": "noeviction",
                "appendfsync": "everysec",
                "timeout": "0",
                "appendonly": "yes",
            }
