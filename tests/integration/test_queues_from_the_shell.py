"""`workd queues …` through the real commands, and with a real daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from workd import Client, JobCancelledError
from workd.broker import keys
from workd.cli import app
from workd.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server


@pytest.fixture
def client(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A producer; the commands find its server in their environment."""
    monkeypatch.setenv("WORKD_REDIS_URL", valkey.url)
    return Client(valkey.url)


def states(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert app.call(["queues", "list", "--json", *words]) == Exit.OK
    return {state["name"]: state for state in json.loads(capsys.readouterr().out)}


def test_queues_are_listed_with_what_is_in_them(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client.enqueue_many("square", [(1,), (2,)])
    client.with_options(queue="images").enqueue("resize")
    found = states(capsys)
    assert {name: state["queued"] for name, state in found.items()} == {"default": 2, "images": 1}
    assert set(states(capsys, "images", "nowhere")) == {"images", "nowhere"}
    assert app.call(["queues", "list"]) == Exit.OK
    head, first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head[:4] == ["QUEUE", "QUEUED", "WAITING", "RUNNING"]
    assert first[:4] == ["default", "2", "0", "0"]
    assert second[0] == "images"


def test_a_purge_tells_its_producers_and_wants_a_yes(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    handle = client.enqueue("square", 4)
    assert app.call(["queues", "purge", "default"]) == Exit.USAGE
    assert "add --yes" in capsys.readouterr().err
    assert app.call(["queues", "purge", "default", "--yes"]) == Exit.OK
    assert capsys.readouterr().out == "purged 1 queued and 0 scheduled jobs\n"
    with pytest.raises(JobCancelledError, match="the queue was purged"):
        handle.get(timeout=20)


def test_a_moved_queue_is_worked_off_where_it_is_now(
    client: Client, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handles = client.with_options(queue="old").enqueue_many("square", [(number,) for number in range(120)])
    later = client.with_options(queue="old", delay_s=1).enqueue("square", 1000)
    assert app.call(["queues", "move", "old", "new", "--yes", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"queued": 121, "scheduled": 0, "doubled": 0, "stayed": 0}
    assert states(capsys, "old", "new")["new"]["queued"] == 121
    with DaemonProcess(valkey.url, tmp_path, modules=("workd_tasks.samples",), queues="new") as daemon:
        daemon.wait_ready()
        moved = client.with_options(queue="new")
        values = [moved.result(handle.id).get(timeout=20) for handle in handles]
        assert values == [number * number for number in range(120)]
        assert moved.result(later.id).get(timeout=20) == 1_000_000
    assert valkey.client().xlen(keys.stream("old")) == 0


def test_a_paused_queue_waits_until_it_is_resumed(
    client: Client, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.call(["queues", "pause", "default", "--reason", "the disk is full", "--for", "1h"]) == Exit.OK
    handle = client.enqueue("square", 4)
    with DaemonProcess(valkey.url, tmp_path, modules=("workd_tasks.samples",)) as daemon:
        daemon.wait_ready()
        state = states(capsys)["default"]
        assert (state["queued"], state["paused"]["reason"]) == (1, "the disk is full")
        assert app.call(["queues", "list", "default"]) == Exit.OK
        assert "paused (until " in capsys.readouterr().out
        assert handle.status() == "queued"
        assert app.call(["queues", "resume", "default"]) == Exit.OK
        assert handle.get(timeout=20) == 16
    capsys.readouterr()
    assert app.call(["queues", "resume", "default"]) == Exit.OK
    assert capsys.readouterr().out == "default was not paused\n"


@pytest.mark.parametrize("span", ["soon", "-1s", "0s", "5"])
def test_a_pause_for_no_time_is_one_line(client: Client, span: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["queues", "pause", "default", "--for", span]) == Exit.USAGE
    [line] = capsys.readouterr().err.splitlines()
    assert "is no span of time" in line


def test_a_queue_without_a_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["queues", "purge"]) == Exit.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_queue_is_paused_and_resumed(client: Client, valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client.enqueue("square", 4)
    assert app.call(["queues", "pause", "default", "--reason", "the database moves", "--for", "2h"]) == Exit.OK
    assert capsys.readouterr().out == "paused default\n"
    told = states(capsys)["default"]["paused"]
    assert told["reason"] == "the database moves"
    assert told["by"]
    assert 0 < valkey.client().pttl(keys.paused("default")) <= 7_200_000
    for said in ("resumed default\n", "default was not paused\n"):
        assert app.call(["queues", "resume", "default"]) == Exit.OK
        assert capsys.readouterr().out == said
    assert states(capsys)["default"]["paused"] is None


@pytest.mark.parametrize("length", ["soon", "0s", "-1s", "nan", "2w"])
def test_a_pause_of_no_length_is_refused(
    client: Client, valkey: Server, capsys: pytest.CaptureFixture[str], length: str
) -> None:
    assert app.call(["queues", "pause", "default", "--for", length]) == Exit.USAGE
    assert length in capsys.readouterr().err
    assert not valkey.client().exists(keys.paused("default"))
