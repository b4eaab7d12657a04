"""What commands print on a real server: JSON that is one document, and no byte of a message that moves the cursor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fake_daemon import FakeDaemon
from support.waiting import eventually
from workd import Client, wire
from workd.broker import keys
from workd.cli import app, catalogue
from workd.client.core import Core
from workd.client.daemons import DaemonInfo, RunningJob
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Server

ESCAPES = "\x1b[2J\x9b31m\x07\u202e"
SHOWN = "\\x1b[2J\\x9b31m\\x07\\u202e"


@pytest.fixture
def url(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WORKD_REDIS_URL", valkey.url)
    return valkey.url


@pytest.fixture
def daemon(url: str, valkey: Server) -> Iterator[FakeDaemon]:
    def fail() -> None:
        raise ValueError(ESCAPES)

    tasks: dict[str, Callable[..., Any]] = {"square": lambda x: x * x, "fail": fail, "echo": lambda x: x}
    with FakeDaemon(valkey.client(), tasks) as running:
        yield running


def lay(server: Server, **changes: str) -> str:
    """A dead letter that somebody has written."""
    fields = {"m": '{"task":"square","args":[4]}', "reason": "failed", "id": "job-1", "task": "square"} | changes
    return str(server.client().xadd(keys.dead("default"), fields), "ascii")  # type: ignore[arg-type]


# ── result


def test_the_result_of_a_job_is_printed_whoever_enqueued_it(
    daemon: FakeDaemon, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(url) as client:
        handle = client.enqueue("square", 4)
        handle.get(timeout=10)
    assert app.call(["result", handle.id]) == Exit.OK
    assert capsys.readouterr() == ("16\n", "")
    assert app.call(["result", handle.id, "--json"]) == Exit.OK
    assert wire.decode_outcome(capsys.readouterr().out.encode()).value == 16


def test_a_job_that_has_not_ended_is_said_where_it_is(
    url: str, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(url) as client:
        handle = client.enqueue("square", 4)
        progress = {"done": 3, "total": 4, "note": ESCAPES, "at": 1.0}
        valkey.client().set(keys.progress("default", handle.id), json.dumps(progress))
    assert app.call(["result", handle.id]) == Exit.FAILURE
    assert capsys.readouterr() == ("", f"workd: job {handle.id} is queued (3 of 4 done, {SHOWN})\n")
    assert app.call(["result", handle.id, "--json"]) == Exit.FAILURE
    said = json.loads(capsys.readouterr().out)
    assert (said["id"], said["queue"], said["status"], said["progress"]["done"]) == (handle.id, "default", "queued", 3)
    assert app.call(["result", "nobody's", "--queue", "images"]) == Exit.FAILURE
    assert "there is no trace of job nobody's in queue images" in capsys.readouterr().err


def test_a_result_is_waited_for(daemon: FakeDaemon, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.hold()
    with Client(url) as client:
        handle = client.enqueue("square", 5)
        assert app.call(["result", handle.id, "--wait", "--wait-s", "0.2"]) == Exit.FAILURE
        assert "no result within 0.2 s" in capsys.readouterr().err
        daemon.release()
        assert app.call(["result", handle.id, "--wait"]) == Exit.OK
    assert capsys.readouterr().out == "25\n"


def test_ctrl_c_ends_the_waiting_alone(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with Client(url) as client:
        handle = client.enqueue("square", 5)
    monkeypatch.setattr(Core, "wait_for", interrupted)
    assert app.call(["result", handle.id, "--wait"]) == Exit.INTERRUPTED
    assert capsys.readouterr() == ("", f"workd: interrupted; job {handle.id} goes on\n")


def test_a_job_that_failed_is_a_failure_and_its_error_is_harmless(
    daemon: FakeDaemon, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(url) as client:
        handle = client.enqueue("fail")
        handle.outcome(timeout=10)
    assert app.call(["result", handle.id]) == Exit.FAILURE
    assert f"ValueError: {SHOWN}" in capsys.readouterr().err
    assert app.call(["result", handle.id, "--json"]) == Exit.FAILURE
    printed = capsys.readouterr().out
    assert "\\u009b" in printed
    assert all(line.isprintable() for line in printed.splitlines())
    assert json.loads(printed)["error"]["message"] == ESCAPES


def test_a_value_is_harmless_too(daemon: FakeDaemon, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "echo", json.dumps(ESCAPES), "--wait"]) == Exit.OK
    printed = capsys.readouterr().out
    assert printed.strip().isprintable()
    assert json.loads(printed) == ESCAPES


# ── dead letters


@pytest.mark.parametrize("field", ["task", "id", "reason", "m"])
def test_a_dead_letter_moves_no_cursor(
    field: str, url: str, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    error = json.dumps({"type": "E", "message": ESCAPES, "traceback": f"one\n{ESCAPES}two", "cause": None})
    entry = lay(valkey, error=error, **{field: ESCAPES})
    for words in (["list"], ["show", entry], ["list", "--json"], ["show", entry, "--json"]):
        assert app.call(["dead", *words]) == Exit.OK
        printed = capsys.readouterr()
        assert all(line.replace("\t", "").isprintable() for line in (printed.out + printed.err).split("\n")), words
    assert app.call(["dead", "show", entry]) == Exit.OK
    shown = capsys.readouterr().out
    assert f"{SHOWN}two" in shown


@pytest.mark.parametrize(
    "words",
    [
        ["--reason", "timeout"], ["--task", "resize"], ["--id", "one"], ["--error", "disk"],
        ["--until", "2001-09-09T01:46:41+00:00"], ["--since", "1000000000", "--until", "1000000001"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(("verb", "yes"), [("purge", ["--yes"]), ("replay", [])])
def test_each_filter_chooses_for_every_command_that_has_it(
    verb: str, yes: list[str], words: list[str], url: str, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    error = json.dumps({"type": "E", "message": "the disk is full", "traceback": "", "cause": None})
    fields = {"m": '{"task":"resize"}', "reason": "timeout", "id": "one", "task": "resize", "error": error}
    valkey.client().xadd(keys.dead("default"), fields, id="1000000000000-0")  # type: ignore[arg-type]
    other = lay(valkey)
    assert app.call(["dead", "list", "--json", *words]) == Exit.OK
    (letter,) = json.loads(capsys.readouterr().out)["letters"]
    assert letter["entry_id"] == "1000000000000-0"
    assert app.call(["dead", verb, *yes, *words, "--all"]) == Exit.USAGE
    assert app.call(["dead", verb, *yes, *words]) == Exit.OK
    assert [entry.decode() for entry, _ in valkey.client().xrange(keys.dead("default"))] == [other]  # type: ignore[union-attr]


def test_since_leaves_out_what_died_before(url: str, valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    valkey.client().xadd(keys.dead("default"), {"m": "{}", "reason": "failed"}, id="1000000000000-0")
    entry = lay(valkey)
    assert app.call(["dead", "list", "--json", "--since", "1h"]) == Exit.OK
    (letter,) = json.loads(capsys.readouterr().out)["letters"]
    assert letter["entry_id"] == entry


def test_replay_and_purge_by_name_say_what_was_refused(
    url: str, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, gone = lay(valkey), "1-1"
    assert app.call(["dead", "replay", entry, gone, "--json"]) == Exit.FAILURE
    said = json.loads(capsys.readouterr().out)
    assert (said["replayed"], said["looked"], list(said["refused"])) == (1, 2, [gone])
    entry = lay(valkey)
    assert app.call(["dead", "purge", entry, gone, "--yes"]) == Exit.FAILURE
    printed = capsys.readouterr()
    assert printed.out == "purged 1 of 2\n"
    assert printed.err == f"workd: dead letter {gone} of queue default: it is not there\n"


def test_mending_prints_the_id_that_the_message_names(
    url: str, valkey: Server, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = lay(valkey)
    mended = tmp_path / "mended.json"
    mended.write_text('{"task":"square","args":[4],"id":"another"}')
    assert app.call(["dead", "edit", entry, "--message", str(mended), "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"id": "another", "queue": "default", "entry_id": entry}


# ── all of them


@pytest.mark.parametrize(
    "line",
    [
        "status", "queues list", "queues pause images --for 1h", "queues resume images", "queues purge images --yes",
        "queues move images bulk --yes", "dead list", "dead replay --all", "dead purge --all --yes", "cancel nobody",
        "result nobody", "enqueue square 4", "schedule list", "schedule next", "config", "config --template", "schema",
    ],
)  # fmt: skip
def test_with_json_stdout_is_one_document(line: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call([*line.split(), "--json"]) in {Exit.OK, Exit.FAILURE}
    assert isinstance(json.loads(capsys.readouterr().out), dict | list)


# ── what docs/commands.md shows

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def documented(command: str) -> Any:
    """The first JSON document that the page shows for a command."""
    part = PAGE.read_text(encoding="utf-8").partition(f"\n### workd {command}\n")[2].partition("\n### ")[0]
    return json.loads(part.partition("```json\n")[2].partition("```")[0])


def shape(value: Any) -> Any:
    """The names of fields, those of objects in arrays and of errors too; not the values."""
    match value:
        case dict():
            inner = {"letters", "error", "findings", "counts", "running", "daemons", "workers", "stacks", "frames"} | {
                "jobs"
            }
            return {name: shape(one) if name in inner else ... for name, one in value.items()}
        case [first, *_]:
            return [shape(first)]
        case _:
            return ...


@pytest.fixture
def lived_in(daemon: FakeDaemon, url: str, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server with a job that has ended, a dead letter and a daemon; and settings with a schedule."""
    with Client(url) as client:
        client.with_options(id="ended").enqueue("square", 4).get(timeout=10)
    error = json.dumps({"type": "E", "message": "no", "traceback": "", "cause": None})
    entry = lay(valkey, error=error)
    file = tmp_path / "workd.toml"
    file.write_text('[schedule.nightly]\ntask = "report"\ncron = "0 3 * * *"\n')
    monkeypatch.setenv("WORKD_CONFIG", str(file))
    running = {"id": "1-1", "task": "square", "queue": "default", "since": 1.0, "pid": 1}
    info = DaemonInfo(
        id="h:1:a", host="h", pid=1, version="1", queues=("default",), started_at=1, at=2, state="running", workers=2,
        workers_ready=2, jobs_in_hand=1, running=(RunningJob.model_validate(running),),
    )  # fmt: skip
    monkeypatch.setattr("workd.client.sync.Client.daemons", lambda _: [info])
    return entry


@pytest.mark.parametrize(
    "line",
    [
        "enqueue square 4", "result ended", "cancel ended", "status", "queues list default", "queues pause images",
        "queues resume images", "queues purge images --yes", "queues move images bulk --yes", "dead list",
        "dead show ENTRY", "dead edit ENTRY --message MENDED", "dead replay --all", "dead purge --all --yes",
        "schedule list", "schedule next", "doctor", "completion bash", "acl --role viewer",
    ],
)  # fmt: skip
def test_the_page_shows_the_fields_that_are_printed(
    line: str, lived_in: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not PAGE.exists():
        pytest.skip("the tests run outside the repository, which has the documents")
    (tmp_path / "mended.json").write_text('{"task":"square","args":[4]}')
    words = line.replace("ENTRY", lived_in).replace("MENDED", str(tmp_path / "mended.json")).split()
    assert app.call([*words, "--json"]) in {Exit.OK, Exit.FAILURE}
    names = {command.name for command in catalogue.commands()}
    command = " ".join(words[:2]) if " ".join(words[:2]) in names else words[0]
    assert shape(json.loads(capsys.readouterr().out)) == shape(documented(command))


def test_the_page_shows_what_daemons_answer(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not PAGE.exists():
        pytest.skip("the tests run outside the repository, which has the documents")
    (tmp_path / "held_tasks.py").write_text(
        "import pathlib, time\nfrom workd import task\n@task\ndef held() -> None:\n"
        "    pathlib.Path('begun').touch()\n    while not pathlib.Path('over').exists(): time.sleep(0.01)\n"
    )
    with DaemonProcess(url, tmp_path, modules=("held_tasks",)) as daemon, Client(url) as client:
        daemon.wait_ready()
        client.enqueue("held")
        eventually((tmp_path / "begun").exists, timeout_s=30)
        for line in ("inspect", "stacks", "scale 2", "quiet"):
            assert app.call([*line.split(), "--json", "--wait-s", "30"]) == Exit.OK
            said = json.loads(capsys.readouterr().out)
            shown = documented("scale" if line == "quiet" else line.split()[0])
            for worker in (*said.get("workers", ()), *shown.get("workers", ())):
                worker.pop("jobs")  # they are those of `workd inspect`
            assert shape(said) == shape(shown), line
        (tmp_path / "over").touch()
