import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.fake_daemon import FakeDaemon
from support.servers import Server
from workd import wire
from workd.broker import keys
from workd.cli import app
from workd.client.core import Core
from workd.exits import Exit


@pytest.fixture
def daemon(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon that squares and divides; the command line finds its server in the environment."""
    monkeypatch.setenv("WORKD_REDIS_URL", valkey.url)
    tasks: dict[str, Callable[..., Any]] = {
        "square": lambda x: x * x,
        "divide": lambda a, b: a / b,
        "names": lambda **named: sorted(named),
    }
    with FakeDaemon(valkey.client(), tasks, "default", "images") as running:
        yield running


def entries(server: Server) -> Any:
    return server.client().xrange(keys.stream("default"))


def test_a_result_that_is_waited_for_is_printed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "square", "4", "--wait"]) == Exit.OK
    assert capsys.readouterr().out == "16\n"


def test_arguments_can_be_named(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "names", "--kwargs", '{"b": 1, "a": 2}', "--wait"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == ["a", "b"]


def test_the_whole_outcome_is_json(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "square", "4", "--wait", "--json", "--id", "mine"]) == Exit.OK
    outcome = wire.decode_outcome(capsys.readouterr().out.encode())
    assert (outcome.id, outcome.status, outcome.value) == ("mine", "succeeded", 16)


def test_a_job_that_failed_is_a_failure_with_its_reason(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "divide", "1", "0", "--wait"]) == Exit.FAILURE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("workd: job ")
    assert "ZeroDivisionError: division by zero" in line
    assert app.call(["enqueue", "divide", "1", "0", "--wait", "--json"]) == Exit.FAILURE
    assert json.loads(capsys.readouterr().out)["status"] == "dead"


def test_the_wait_has_an_end(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.hold()
    assert app.call(["enqueue", "square", "4", "--wait", "--wait-s", "0.2"]) == Exit.FAILURE
    assert "no result within 0.2 s" in capsys.readouterr().err
    daemon.release()


def test_without_waiting_the_id_is_printed(valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = ["--redis-url", valkey.url]
    assert app.call(["enqueue", "square", "4", *url]) == Exit.OK
    entry_id = capsys.readouterr().out.strip()
    ((found, fields),) = entries(valkey)
    assert found.decode() == entry_id
    envelope = wire.decode(fields[b"m"])
    assert (envelope.task, envelope.args) == ("square", (4,))
    assert app.call(["enqueue", "square", "4", "--queue", "images", "--json", *url]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["queue"] == "images"
    assert valkey.client().xlen(keys.stream("images")) == 1


def test_a_delay_is_a_time_in_the_message(valkey: Server) -> None:
    assert app.call(["enqueue", "square", "4", "--delay", "60", "--redis-url", valkey.url]) == Exit.OK
    ((_, fields),) = entries(valkey)
    assert wire.decode(fields[b"m"]).run_at == pytest.approx(time.time() + 60, abs=10)


def test_options_of_a_job_are_flags(valkey: Server) -> None:
    said = {
        "timeout": 5.0,
        "soft_timeout": 2.5,
        "start_by": 60.0,
        "max_retries": 2,
        "unique": "mine",
        "result_ttl": 0.0,
    }
    flags = [word for name, value in said.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert app.call(["enqueue", "square", "4", *flags, "--redis-url", valkey.url]) == Exit.OK
    ((_, fields),) = entries(valkey)
    message = json.loads(fields[b"m"])
    assert message == {"task": "square", "args": [4]} | said
    for bad in (["--max-retries", "-1"], ["--timeout", "0"], ["--timeout", "1", "--soft-timeout", "1"]):
        assert app.call(["enqueue", "square", *bad, "--redis-url", valkey.url]) == Exit.USAGE


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "square", "4", "--redis-url", "redis://127.0.0.1:1/0"]) == Exit.REDIS
    (line,) = capsys.readouterr().err.splitlines()
    assert "redis://127.0.0.1:1/0" in line


def test_a_duplicate_is_told_that_the_result_is_the_first_ones(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ["--id", "same", "--wait"]
    assert app.call(["enqueue", "square", "4", *same]) == Exit.OK
    assert capsys.readouterr() == ("16\n", "")
    time.sleep(0.002)  # Redis dates in milliseconds
    assert app.call(["enqueue", "square", "9", *same]) == Exit.OK
    printed = capsys.readouterr()
    assert printed.out == "16\n"
    assert printed.err == "workd: a job with the id same was there before; this is its result\n"


def test_ctrl_c_ends_the_waiting_and_not_the_job(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Core, "wait_for", interrupted)
    assert app.call(["enqueue", "square", "4", "--id", "mine", "--wait"]) == Exit.INTERRUPTED
    assert capsys.readouterr() == ("", "workd: interrupted; job mine goes on\n")
