"""Daemon and clients with the rights of their roles: all that they need, and what happens without any one of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.jobs import QUEUE
from support.roles import add_user, url_of
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd import Client, RedisPool, step
from workd import group as group_of
from workd.broker import keys, rights
from workd.client.admin import Admin
from workd.client.dead_letters import Where
from workd.errors import JobCancelledError, ServerUnavailableError
from workd_tasks import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_a_daemon_and_its_clients_need_no_more_than_their_roles_have(server: Server, tmp_path: Path) -> None:
    with server.client() as client:
        worker, producer, operator = (add_user(client, role) for role in ("daemon", "producer", "operator"))
        with (
            DaemonProcess(url_of(server, worker), tmp_path, modules=("workd_tasks.samples",)) as daemon,
            Client(url_of(server, producer)) as sending,
            RedisPool(sending) as pool,
            Admin(url_of(server, operator)) as admin,
        ):
            daemon.wait_ready()
            assert sending.enqueue(samples.square, 4).get(timeout=20) == 16
            assert pool.map(samples.square, range(20)) == [n * n for n in range(20)]
            assert sending.with_options(delay_s=0.2).enqueue(samples.square, 5).get(timeout=20) == 25
            client.rpush(keys.inbox(QUEUE), json.dumps({"task": "square", "args": [6], "id": "in", "result_ttl": 60}))
            assert sending.result("in").get(timeout=20) == 36
            assert [state.name for state in admin.queues.all()] == [QUEUE]
            daemon.term()
            assert daemon.wait() == 0
        assert "NOPERM" not in daemon.log_text()
        assert "permission" not in daemon.log_text()


def test_an_operator_needs_no_more_than_the_role_has(server: Server) -> None:
    """All that `Admin` can do, on a queue with something of everything in it."""
    letter = {"m": '{"task":"square"}', "reason": "failed", "error": "{}", "id": "a", "task": "square", "attempts": "1"}
    group = group_of(step("square", 1))
    with (
        server.client() as client,
        Client(server.url) as sending,
        Admin(url_of(server, add_user(client, "operator"))) as admin,
    ):
        sending.enqueue_many("square", [(n,) for n in range(3)])
        sending.with_options(delay_s=600).enqueue("square", 1)
        sending.with_options(delay_s=600, id="named", unique="once").enqueue("square", 1)
        sending.enqueue_group(group)
        sending.enqueue_chain(step("square", 1), step("square"))
        first, second, *_ = [client.xadd(keys.dead(QUEUE), letter).decode() for _ in range(4)]
        admin.queues.pause(QUEUE, "a test", for_s=60.0)
        assert admin.queues.state(QUEUE).paused is not None
        assert admin.queues.resume(QUEUE) is not None
        assert admin.queues.fired(QUEUE) == {}
        assert admin.dead.count(QUEUE) == 4
        assert admin.dead.get(QUEUE, first).task == "square"
        assert len(admin.dead.page(QUEUE).letters) == 4
        admin.dead.replay(QUEUE, first)
        admin.dead.edit(QUEUE, second, b'{"task":"square","args":[2]}')
        admin.dead.replay_all(QUEUE, Where(task="square"))
        client.xadd(keys.dead(QUEUE), letter)
        admin.dead.purge_all(QUEUE)
        assert admin.queues.move(QUEUE, "other").queued > 3
        sending.enqueue_group(group)
        admin.queues.purge("other")
        admin.queues.purge(QUEUE)


def test_a_client_needs_no_more_than_the_role_has_for_all_that_clients_can(server: Server, tmp_path: Path) -> None:
    with server.client() as client:
        worker, producer = (add_user(client, role) for role in ("daemon", "client"))
        with (
            DaemonProcess(
                url_of(server, worker),
                tmp_path,
                modules=("workd_tasks.samples", "support.limit_tasks"),
                queues="default,other",
            ) as daemon,
            Client(url_of(server, producer)) as sending,
        ):
            daemon.wait_ready()
            assert [info.queues for info in sending.daemons()] == [("default", "other")]
            slow = sending.enqueue("sleep", 30)
            assert eventually(lambda: slow.status() == "running")
            slow.progress()
            assert slow.cancel() == "asked"
            assert sending.with_options(delay_s=600).enqueue("square", 1).cancel() in ("cancelled", "asked")
            assert sending.with_options(unique="u", id="own").enqueue("square", 3).get(timeout=20) == 9
            handle = sending.enqueue_group(group_of(*(step("square", n) for n in range(5))))
            assert handle.summary(timeout=10).succeeded == 5
            chain = sending.enqueue_chain(step("square", 2), step("square").with_options(queue="other"))
            assert chain.get(timeout=20) == 16
            limited = [sending.enqueue("narrow") for _ in range(8)]
            assert not sending.wait(limited, timeout=20).not_done
            with pytest.raises(JobCancelledError):
                slow.get(timeout=15)
            daemon.term()
            assert daemon.wait() == 0
        assert "NOPERM" not in daemon.log_text()
        assert "permission" not in daemon.log_text()


def test_a_viewer_may_look_and_not_touch(server: Server) -> None:
    with server.client() as client:
        viewer = url_of(server, add_user(client, "viewer"))
        client.xadd(keys.stream(QUEUE), {"m": "{}"})
        with Admin(viewer) as admin:
            assert [state.queued for state in admin.queues.all()] == [1]
        with Client(viewer) as sending, pytest.raises(ServerUnavailableError, match="refused"):
            sending.enqueue("square", 4)
        assert client.xlen(keys.stream(QUEUE)) == 1


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server of this module's own, for users whose rights come and go."""
    with Server(valkey_binary(), appendonly=True) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(guarded: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon for all the rights, so that it has to live through all of it."""
    with guarded.client() as client:
        url = url_of(guarded, add_user(client, "daemon"))
    with DaemonProcess(url, tmp_path_factory.mktemp("rights"), modules=("workd_tasks.samples",)) as process:
        process.wait_ready()
        yield process


@pytest.mark.parametrize("command", sorted(rights.COMMANDS["daemon"]))
def test_a_daemon_that_lacks_one_right_says_so_or_needs_it_not_and_goes_on_when_it_has_it(
    guarded: Server, daemon: DaemonProcess, command: str
) -> None:
    said = len(daemon.log())
    job = json.dumps({"task": "square", "args": [7], "id": f"without {command}", "result_ttl": 60})
    with guarded.client() as client:
        client.execute_command("ACL", "SETUSER", "daemon", f"-{command}")
        for row in client.client_list():
            if row["user"] == "daemon":
                client.client_kill_filter(_id=row["id"])
        client.xadd(keys.stream(QUEUE), {"m": job})

        def ended() -> bool:
            return client.get(keys.result(QUEUE, f"without {command}")) is not None

        eventually(lambda: ended() or _is_refused(daemon, said), timeout_s=40)
        client.execute_command("ACL", "SETUSER", "daemon", f"+{command}")
        eventually(ended, timeout_s=40)
        assert json.loads(client.get(keys.result(QUEUE, f"without {command}")) or b"")["value"] == 49
        eventually(lambda: client.xlen(keys.stream(QUEUE)) == 0)
    assert daemon.alive


def _is_refused(daemon: DaemonProcess, said: int) -> bool:
    """Say whether the log has a new complaint that is not about the cut connections: of the session, or of a job."""
    lines = [line for line in daemon.log()[said:] if line["level"] in ("warning", "error")]
    return any("does not answer" not in json.dumps(line) for line in lines)
