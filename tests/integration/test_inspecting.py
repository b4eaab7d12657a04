"""Asking daemons what runs and where, and telling them what to do, over their channels."""

from __future__ import annotations

import json
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.fleets import PATIENCE_S, TASKS, fleet
from support.waiting import eventually
from workd import Client
from workd import control_wire as wire
from workd.broker import keys
from workd.client.admin import Admin
from workd.errors import ServerUnavailableError
from workd.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.server_sets import Cluster
    from support.servers import Server

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def queue(server: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(server, tmp_path)
    yield queue
    queue.close()


def held(queue: FaultQueue, count: int) -> list[str]:
    """Have so many jobs run until the gate is open."""
    job_ids = [queue.push("hold", "gate") for _ in range(count)]
    eventually(lambda: len(queue.runs()) == count, PATIENCE_S)
    return job_ids


def ask_raw(queue: FaultQueue, channel: str, text: bytes) -> None:
    queue.client.publish(channel, text)


def command(queue: FaultQueue, do: str, **more: object) -> tuple[str, bytes]:
    """Return the name of a place for answers, and a command."""
    seconds, micros = queue.client.time()
    said = {"v": 1, "do": do, "reply": secrets.token_hex(16), "at": seconds + micros / 1e6, "wait_s": 10.0} | more
    return str(said["reply"]), json.dumps(said).encode()


def answers(queue: FaultQueue, reply: str) -> list[dict[str, Any]]:
    return [json.loads(fields[b"a"]) for _, fields in queue.client.xrange(keys.answers(reply))]


# ── inspect ──


def test_the_running_jobs_of_two_daemons_are_listed(queue: FaultQueue) -> None:
    with fleet(queue, 2) as (daemons, admin):
        job_ids = held(queue, 4)
        buffered = [queue.push("hold", "gate") for _ in range(3)]
        heard = admin.fleet.inspect(wait_s=PATIENCE_S)
        assert heard.ok
        assert [answer.daemon for answer in heard.answers] == sorted(daemon.daemon_id for daemon in daemons)
        jobs = [job for answer in heard.answers for job in answer.jobs]
        assert {job.id for job in jobs} == set(job_ids)
        runs = {run.id: run for run in queue.runs()}
        for job in jobs:
            assert (job.task, job.queue, job.pid) == ("hold", "default", runs[job.id].pid)
            assert (job.attempt, job.delivery, job.shared_by) == (1, 1, 1)
            assert 0 < job.seconds < time.time() - runs[job.id].at + 5
            assert job.rss_bytes > 1_000_000
            assert job.state in "RSD"
        assert all(answer.running == 2 for answer in heard.answers)
        assert all(answer.jobs == tuple(sorted(answer.jobs, key=lambda job: -job.seconds)) for answer in heard.answers)
        queue.open_gate("gate")
        for job_id in [*job_ids, *buffered]:
            queue.outcome(job_id, PATIENCE_S)


def test_daemons_queues_and_tasks_can_be_chosen(queue: FaultQueue) -> None:
    with fleet(queue, 2) as (daemons, admin):
        held(queue, 4)
        first = daemons[0].daemon_id
        host_and_pid = first.rpartition(":")[0]
        for name in (first, host_and_pid):
            assert [answer.daemon for answer in admin.fleet.inspect(daemons=[name], wait_s=PATIENCE_S).answers] == [
                first
            ]
        none = admin.fleet.inspect(queues=["other"], wait_s=PATIENCE_S)
        assert (none.answers, none.silent, none.ok) == ([], [], False)
        others = admin.fleet.inspect(tasks=["quick"], wait_s=PATIENCE_S)
        assert [answer.jobs for answer in others.answers] == [(), ()]
        queue.open_gate("gate")


def test_a_daemon_that_is_stopped_is_said_not_to_have_answered_and_does_later_what_nobody_waits_for_no_more(
    queue: FaultQueue,
) -> None:
    with fleet(queue, 2, lease_s=60) as (daemons, admin):
        daemons[1].pause()
        heard = admin.fleet.scale(3, wait_s=10.0)  # all of it is waited for the one that is stopped
        assert [answer.daemon for answer in heard.answers] == [daemons[0].daemon_id]
        assert [info.id for info in heard.silent] == [daemons[1].daemon_id]
        assert not heard.ok
        time.sleep(max(0.0, wire.SLACK_S))  # the order has a date of expiry, by the server's clock
        daemons[1].resume()
        again = admin.fleet.ping(wait_s=PATIENCE_S)
        assert {answer.daemon: answer.workers for answer in again.answers} == {
            daemons[0].daemon_id: 3,
            daemons[1].daemon_id: 2,
        }


# ── stacks ──


def test_the_stack_of_a_running_job_shows_its_lines_and_the_job_ends_as_ever(queue: FaultQueue) -> None:
    with fleet(queue, 2) as (_, admin):
        [job_id, other] = held(queue, 2)
        heard = admin.fleet.stacks(job_id, wait_s=PATIENCE_S)
        [worker] = [worker for answer in heard.answers for worker in answer.stacks]
        assert [job.id for job in worker.jobs] == [job_id]
        assert worker.how == "answer"
        frames = worker.stacks[0].frames
        assert [frame.function for frame in frames][-2:] == ["wait_at", "hold"]
        assert frames[-1].source == "wait_at(gate)"
        queue.open_gate("gate")
        assert queue.outcome(job_id, PATIENCE_S)["status"] == "succeeded"
        assert queue.outcome(other, PATIENCE_S)["status"] == "succeeded"


def test_each_coroutine_of_a_worker_is_shown_by_its_jobs_id(queue: FaultQueue) -> None:
    with fleet(queue, 1, workers=1) as (_, admin):
        job_ids = [queue.push("linger", str(queue.folder), name) for name in ("a", "b")]
        eventually(lambda: all((queue.folder / name).exists() for name in ("a", "b")), PATIENCE_S)
        heard = admin.fleet.stacks(wait_s=PATIENCE_S)
        [worker] = heard.answers[0].stacks
        assert {job.id for job in worker.jobs} == set(job_ids)
        assert all(job.shared_by == 2 for job in worker.jobs)
        assert {stack.job for stack in worker.stacks if stack.kind == "coroutine"} == set(job_ids)
        [only] = admin.fleet.stacks(job_ids[0], wait_s=PATIENCE_S).answers[0].stacks
        assert {stack.job for stack in only.stacks if stack.kind == "coroutine"} == {job_ids[0]}
        (queue.folder / "go on").touch()
        assert queue.outcome(job_ids[0], PATIENCE_S)["value"] == "a"


# ── orders ──


def test_workers_are_scaled_and_the_daemon_says_how_many_it_has_now(queue: FaultQueue) -> None:
    with fleet(queue, 1) as ([daemon], admin):
        assert [answer.workers for answer in admin.fleet.scale(4, wait_s=PATIENCE_S).answers] == [4]
        eventually(lambda: len(daemon.worker_pids()) == 4, PATIENCE_S)
        assert [answer.workers for answer in admin.fleet.scale(by=-3, wait_s=PATIENCE_S).answers] == [1]
        eventually(lambda: len(daemon.worker_pids()) == 1, PATIENCE_S)


def test_a_quiet_daemon_starts_nothing_until_it_is_told_to_resume(queue: FaultQueue) -> None:
    with fleet(queue, 1) as ([daemon], admin):
        assert [answer.state for answer in admin.fleet.quiet(wait_s=PATIENCE_S).answers] == ["quiet"]
        assert admin.fleet.quiet(wait_s=PATIENCE_S).ok, "it is so already"
        job_id = queue.push("quick", 1)
        assert not queue.runs()
        assert [answer.state for answer in admin.fleet.resume(wait_s=PATIENCE_S).answers] == ["running"]
        assert queue.outcome(job_id, PATIENCE_S)["value"] == 1
        daemon.term()
        assert daemon.wait(PATIENCE_S) == 0


def test_a_reload_is_waited_for_and_new_code_that_does_not_load_is_told_as_the_reason(queue: FaultQueue) -> None:
    module = queue.folder / "some_tasks.py"
    module.write_text("from workd_tasks import task\n@task(result_ttl=60)\ndef which() -> int:\n    return 1\n")
    with fleet(queue, 1, modules=("some_tasks",)) as (_, admin):
        assert queue.outcome(queue.push("which"), PATIENCE_S)["value"] == 1
        module.write_text("from workd_tasks import task\n@task(result_ttl=60)\ndef which() -> int:\n    return 2222\n")
        assert admin.fleet.reload(wait_s=PATIENCE_S).ok
        assert queue.outcome(queue.push("which"), PATIENCE_S)["value"] == 2222
        module.write_text("def")
        heard = admin.fleet.reload(wait_s=PATIENCE_S)
        assert not heard.ok
        assert "SyntaxError" in heard.answers[0].error
        assert queue.outcome(queue.push("which"), PATIENCE_S)["value"] == 2222


# ── who may say what ──


def test_rubbish_and_orders_on_the_channel_for_questions_are_passed_over(queue: FaultQueue) -> None:
    with fleet(queue, 1) as (_, admin):
        for channel in (keys.ASK, keys.ORDERS):
            for text in (b"", b"rubbish", b"\xff" * 10_000, b'{"v":1,"do":"inspect"}', b"[]", b"x" * 64 + b" {}"):
                ask_raw(queue, channel, text)
        reply, order = command(queue, "scale", workers=1)
        ask_raw(queue, keys.ASK, order)
        unknown, later = command(queue, "dance")
        ask_raw(queue, keys.ORDERS, later)
        newer, version = command(queue, "ping", v=2)
        ask_raw(queue, keys.ASK, version)
        assert [answer.workers for answer in admin.fleet.ping(wait_s=PATIENCE_S).answers] == [2]
        assert [answers(queue, name) for name in (reply, unknown, newer)] == [[], [], []]


def test_a_command_is_done_once_however_often_it_comes(queue: FaultQueue) -> None:
    with fleet(queue, 1) as (_, admin):
        reply, order = command(queue, "scale", by=1)
        for _ in range(3):
            ask_raw(queue, keys.ORDERS, order)
        eventually(lambda: answers(queue, reply), PATIENCE_S)
        assert [answer.workers for answer in admin.fleet.ping(wait_s=PATIENCE_S).answers] == [3]
        assert len(answers(queue, reply)) == 1
        assert 0 < queue.client.pttl(keys.answers(reply)) <= wire.ANSWERS_MS


def test_a_daemon_with_signing_keys_obeys_signed_orders_alone_and_answers_every_question(
    queue: FaultQueue,
) -> None:
    signing = Signing((KEY,))
    settings = queue.folder / "workd.toml"
    settings.write_text(f'signing_keys = ["{KEY}"]\n')
    with fleet(queue, 1, config=settings) as (_, unsigned):
        refused = unsigned.fleet.scale(5, wait_s=PATIENCE_S)
        assert not refused.ok
        assert "signed orders alone" in refused.answers[0].error
        assert refused.answers[0].workers == 2
        assert unsigned.fleet.inspect(wait_s=PATIENCE_S).ok
        with Admin(queue.server.url, signing_key="f" * 32) as stranger:
            assert not stranger.fleet.quiet(wait_s=PATIENCE_S).ok
        with Admin(queue.server.url, signing_key=KEY) as admin:
            assert [answer.workers for answer in admin.fleet.scale(3, wait_s=PATIENCE_S).answers] == [3]
        old, order = command(queue, "scale", workers=9, at=time.time() - 40, wait_s=600.0)
        ask_raw(queue, keys.ORDERS, signing.sign_command(order) + b" " + order)
        eventually(lambda: answers(queue, old), PATIENCE_S)
        assert "too old" in answers(queue, old)[0]["error"]
        changed, order = command(queue, "scale", workers=9)
        ask_raw(queue, keys.ORDERS, signing.sign_command(order) + b" " + order.replace(b"9}", b"8}"))
        eventually(lambda: answers(queue, changed), PATIENCE_S)
        assert answers(queue, changed)[0]["ok"] is False


def test_who_may_only_look_cannot_steer(queue: FaultQueue) -> None:
    """With the rights that docs/inspecting.md names, and no others."""
    looks = ("publish", "xread", "zrange", "get", "time", "ping", "select", "hello", "client|setname")
    patterns = ("%R~workd:daemons", "%R~workd:daemon:*", "%R~workd:answers:*")
    acl = (
        "on",
        "nopass",
        "resetkeys",
        *patterns,
        "resetchannels",
        "&workd:ask",
        "-@all",
        *(f"+{one}" for one in looks),
    )
    queue.client.execute_command("ACL", "SETUSER", "looker", *acl)
    try:
        with (
            fleet(queue, 1) as ([daemon], _),
            Admin(queue.server.url.replace("redis://", "redis://looker:x@")) as admin,
        ):
            queue.run(queue.push("hold", "gate"))
            assert admin.fleet.ping(wait_s=PATIENCE_S).ok
            assert len(admin.fleet.inspect(wait_s=PATIENCE_S).answers[0].jobs) == 1
            assert admin.fleet.stacks(wait_s=PATIENCE_S).answers[0].stacks
            with pytest.raises(ServerUnavailableError, match=r"PUBLISH 'workd:orders'.*(?:NOPERM|permission)"):
                admin.fleet.scale(1)
            assert [answer.workers for answer in admin.fleet.ping(wait_s=PATIENCE_S).answers] == [2]
            queue.open_gate("gate")
            daemon.term()
            assert daemon.wait(PATIENCE_S) == 0
    finally:
        queue.client.acl_deluser("looker")


def test_in_a_cluster_a_daemon_on_three_nodes_answers_once(cluster: Cluster, tmp_path: Path) -> None:
    names = "default,mail,urgent"
    with (
        DaemonProcess(cluster.url, tmp_path, modules=TASKS, queues=names, lease_s=5) as daemon,
        Admin(cluster.url) as admin,
        Client(cluster.url, queue="mail") as client,
    ):
        daemon.wait_ready()
        handle = client.enqueue("hold", "gate")
        eventually(lambda: admin.fleet.ping(wait_s=5.0).ok, PATIENCE_S)
        eventually(lambda: admin.fleet.inspect(wait_s=PATIENCE_S).answers[0].jobs, PATIENCE_S)
        for _ in range(5):  # each has its answers on another node
            [answer] = admin.fleet.stacks(handle.id, wait_s=PATIENCE_S).answers
            assert [job.queue for worker in answer.stacks for job in worker.jobs] == ["mail"]
        assert [answer.workers for answer in admin.fleet.scale(by=1, wait_s=PATIENCE_S).answers] == [3]
        (tmp_path / "gate").touch()
        assert handle.get(timeout=PATIENCE_S)


# ── the log ──


def test_sigusr2_writes_what_runs_and_where_it_is_into_the_log(queue: FaultQueue) -> None:
    with fleet(queue, 1) as ([daemon], _):
        [job_id] = held(queue, 1)
        daemon.send(signal.SIGUSR2)
        row = daemon.wait_log("x-ray: a job runs", timeout_s=PATIENCE_S)
        assert (row["job_id"], row["task"], row["worker_pid"]) == (job_id, "hold", queue.runs()[0].pid)
        where = daemon.wait_log("x-ray: where a worker is", timeout_s=PATIENCE_S)
        assert where["job_ids"] == [job_id]
        assert "in hold\n    wait_at(gate)" in where["stacks"]
        assert daemon.wait_log("x-ray", timeout_s=PATIENCE_S)["running"] == 1
        queue.open_gate("gate")
        queue.outcome(job_id, PATIENCE_S)


@pytest.mark.timeout(300)
def test_daemons_that_are_looked_at_all_the_time_lose_and_double_no_job(queue: FaultQueue) -> None:
    with fleet(queue, 2) as (_, admin):
        job_ids = [queue.push("step") for _ in range(600)] + [queue.push("add", number, 1) for number in range(200)]
        looks = 0
        while len(queue.outcomes()) < len(job_ids) or looks < 20:
            heard = admin.fleet.stacks(wait_s=PATIENCE_S)
            assert heard.ok
            looks += 1
        outcomes = queue.all_ended(job_ids)
        assert {outcome["status"] for outcome in outcomes.values()} == {"succeeded"}
        assert {outcome["deliveries"] for outcome in outcomes.values()} == {1}
        assert len(queue.runs()) == 600
