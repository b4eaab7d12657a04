"""`workd doctor` on real servers, with users of few rights, and beside a daemon that runs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from workd import settings
from workd.broker import rights
from workd.cli import app
from workd.doctor import rights as doctors_rights
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Server

TASKS = "workd_tasks.samples.numbers"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WORKD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")
    monkeypatch.setenv("WORKD_HTTP", "127.0.0.1:1")


def found(capsys: pytest.CaptureFixture[str], *words: str, code: Exit = Exit.OK) -> dict[str, list[dict[str, str]]]:
    """What it says as JSON, by check."""
    assert app.call(["doctor", "--json", *words]) == code
    said: Any = json.loads(capsys.readouterr().out)
    by_check: dict[str, list[dict[str, str]]] = {}
    for one in said["findings"]:
        by_check.setdefault(one["check"], []).append(one)
    assert sum(said["counts"].values()) == len(said["findings"])
    assert not [check for check in by_check if check.endswith(".failed")], by_check
    return by_check


def level(of: dict[str, list[dict[str, str]]], check: str) -> set[str]:
    return {one["level"] for one in of[check]}


def test_a_server_is_examined(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    said = found(capsys, TASKS, "--redis-url", server.url)
    for check in ("server.version", "server.clock", "server.role", "rights.roles", "tasks.import"):
        assert level(said, check) == {"ok"}, said[check]
    assert "writes nothing to disk" in said["server.durability"][0]["said"]
    assert "server.asked" not in said


def test_settings_of_a_server_that_lose_jobs_are_found(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("timeout", 300)
        try:
            said = found(capsys, "--redis-url", server.url, code=Exit.FAILURE)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("timeout", 0)
    assert "problem" in level(said, "server.durability")
    assert level(said, "server.connections") == {"warning"}


@pytest.fixture
def url_of_somebody(server: Server) -> Iterator[Callable[..., str]]:
    """Makes a user with these rules, and its URL."""
    with server.client() as client:

        def make(*rules: str) -> str:
            client.execute_command("ACL", "SETUSER", "somebody", "reset", "on", ">secret", *rules)
            return server.url.replace("redis://", "redis://somebody:secret@")

        yield make
        client.execute_command("ACL", "DELUSER", "somebody")


@pytest.mark.parametrize("role", ["daemon", "producer", "viewer", "operator"])
def test_a_user_of_few_rights_is_told_what_a_daemon_would_lack(
    role: rights.Role, server: Server, url_of_somebody: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = url_of_somebody(*rights.rules(role, newer="valkey" in server.binary.name))
    said = found(capsys, "--redis-url", url, code=Exit.OK if role == "daemon" else Exit.FAILURE)
    can = said["rights.roles"][0]["said"].partition(";")[0]
    assert (role in can) == (role != "producer")
    assert ("rights.daemon" in said) == (role != "daemon")
    assert "secret" not in json.dumps(said)
    assert server.client().ping()  # asking about rights has not ended it


def test_a_user_who_may_not_touch_our_names_is_told(
    url_of_somebody: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = found(capsys, "--redis-url", url_of_somebody("+@all", "~other:*", "&other:*"), code=Exit.FAILURE)
    assert "on keys workd:*" in said["rights.daemon"][0]["said"]


def test_every_command_line_that_is_asked_about_is_one_that_the_server_knows(server: Server) -> None:
    """A line that is not valid could end the server; and it would say nothing."""
    with server.client() as client:
        lines = [line for name in sorted(doctors_rights._LINES) if (line := doctors_rights.line_of(name))]
        answers = client.eval(doctors_rights._SCRIPT, 0, *lines)
        known = [line.split("\n") for line, may in zip(lines, answers, strict=True) if may == 1]
        unknown = {line.replace("\n", " ") for line, may in zip(lines, answers, strict=True) if may != 1}
        assert unknown <= {"waitaof 0 0 1", "client setinfo lib-name workd"}  # which Redis 7.0 lacks
        assert [words for words in known if client.execute_command("ACL", "DRYRUN", "default", *words) != b"OK"] == []


def test_a_server_that_is_not_there_is_a_problem_and_all_else_is_still_looked_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = found(capsys, TASKS, "--redis-url", "redis://127.0.0.1:1/0", code=Exit.FAILURE)
    assert level(said, "server.reachable") == {"problem"}
    assert level(said, "tasks.import") == {"ok"}
    assert "machine.cores" in said


def test_jobs_that_nobody_serves_are_found(valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "square", "4", "--redis-url", valkey.url]) == Exit.OK
    capsys.readouterr()
    said = found(capsys, "--redis-url", valkey.url, code=Exit.FAILURE)
    assert "no daemon serves it" in said["fleet.queue"][0]["said"]


def test_a_key_of_another_type_in_our_place_is_found(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.client().set("workd:{default}:stream", "somebody else's")
    said = found(capsys, "--redis-url", server.url, code=Exit.FAILURE)
    assert "workd:{default}:stream has the wrong type" in said["fleet.queue"][0]["said"]


def test_a_daemon_that_runs_is_found(valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "doctor_tasks.py").write_text("from workd import task\n@task\ndef nothing() -> None: ...\n")
    with DaemonProcess(valkey.url, tmp_path, modules=("doctor_tasks",)) as daemon:
        daemon.wait_ready()
        said = found(capsys, "--redis-url", valkey.url)
    assert level(said, "fleet.daemons") == {"ok"}
    assert level(said, "fleet.queue") == {"ok"}


def test_people_read_what_to_do_below_what_is_wrong(valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["doctor", "no_such_module_at_all", "--brief", "--redis-url", valkey.url]) == Exit.FAILURE
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if "no_such_module_at_all does not import" in line)
    assert lines[at].startswith("  problem ")
    assert lines[at + 1].startswith("          -> ")
    assert not [line for line in lines if line.startswith(("  ok", "  note"))]


def test_a_cluster_is_asked_node_by_node(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = found(capsys, "--redis-url", cluster.url)
    assert len(said["server.reachable"]) == len(cluster.masters())
    assert level(said, "server.reachable") <= {"ok", "note"}
