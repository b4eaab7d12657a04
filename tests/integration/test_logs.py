"""What a daemon and its tasks say, read from the log of a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.servers import Server, valkey_binary
from workd import Client
from workd.output.repeats import FREE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASKS = "support.log_tasks"
PATIENCE_S = 60.0
KEY = "a-key-that-nobody-else-is-to-see"
PASSWORD = 'p@ss:w"rd'
PASSWORD_IN_URL = "p%40ss%3Aw%22rd"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(valkey_binary()) as server:
        yield server


def lines_of(daemon: DaemonProcess, job_id: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log() if line.get("job_id") == job_id]


def test_whatever_a_task_says_and_however_it_is_a_line_with_its_job(server: Server, tmp_path: Path) -> None:
    with DaemonProcess(server.url, tmp_path, modules=(TASKS,), workers=1) as daemon, Client(server.url) as client:
        daemon.wait_ready()
        job = client.enqueue("talk", "word")
        assert job.get(PATIENCE_S) == "word"
        [worker_pid] = daemon.worker_pids()
        said = {line["event"]: line for line in lines_of(daemon, job.id)}
        text = daemon.log_text()
    for event in (
        "printed word", "written word", "bytes word ä", "logged word", "structured word",
        "by context word\nin two lines", "in a thread word", "caught word", "tail word",
    ):  # fmt: skip
        line = said[event]
        assert (line["task"], line["queue"], line["attempt"]) == ("talk", "default", 1), event
        assert line["worker_pid"] == worker_pid
        assert line["daemon"] == daemon.daemon_id
    assert (said["printed word"]["stream"], said["written word"]["stream"]) == ("stdout", "stderr")
    assert (said["logged word"]["level"], said["logged word"]["left_bytes"]) == ("warning", 3)
    assert said["caught word"]["exception"].endswith("KeyError: 'word'")
    assert "\nprogram word\n" in text  # as it is


def test_coroutines_of_one_worker_do_not_mix_their_lines(server: Server, tmp_path: Path) -> None:
    with DaemonProcess(server.url, tmp_path, modules=(TASKS,), workers=1) as daemon, Client(server.url) as client:
        daemon.wait_ready()
        jobs = {name: client.enqueue("talk_in_loop", name) for name in "abcdefgh"}
        for name, job in jobs.items():
            assert job.get(PATIENCE_S) == name
        for name, job in jobs.items():
            assert [line["event"] for line in lines_of(daemon, job.id)] == [f"begins {name} ends {name}"]


def test_dead_letters_of_one_kind_are_said_a_few_times_and_all_of_them_counted(server: Server, tmp_path: Path) -> None:
    with DaemonProcess(server.url, tmp_path, modules=(TASKS,)) as daemon, Client(server.url) as client:
        daemon.wait_ready()
        jobs = client.enqueue_many("fail", [()] * 40)
        for job in jobs:
            assert job.wait(PATIENCE_S)
        daemon.term()
        assert daemon.wait(PATIENCE_S) == 0
        said = daemon.log("dead letter")
    assert len(said) + sum(line.get("repeated", 0) for line in said) == 40
    assert FREE <= len(said) <= FREE + 3
    assert {line["queue"] for line in said} == {"default"}


def test_neither_password_nor_key_is_in_any_line(tmp_path: Path) -> None:
    with Server(valkey_binary()) as server, server.client() as admin:
        admin.config_set("requirepass", PASSWORD)
        url = server.url.replace("://", f"://:{PASSWORD_IN_URL}@")
        environment = {"WORKD_SIGNING_KEYS": KEY, "WORKD_NO_SUCH": PASSWORD}
        with (
            DaemonProcess(url, tmp_path, modules=(TASKS,), environment=environment, log_level="debug") as daemon,
            Client(url, signing_key=KEY) as client,
        ):
            daemon.wait_ready()
            assert client.enqueue("say", "anything").get(PATIENCE_S) == 1
            admin.config_set("requirepass", "another")
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            daemon.wait_log("Redis is not usable; trying again until it is", timeout_s=PATIENCE_S)
            daemon.term()
            daemon.wait(PATIENCE_S)
            text = daemon.log_text()
    for secret in (PASSWORD, PASSWORD_IN_URL, PASSWORD.replace('"', '\\"'), KEY):
        assert secret not in text
