"""Dead letters through the real commands: what failed is seen, mended, and runs again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.waiting import eventually
from workd import Client, JobFailedError
from workd.broker import keys
from workd.cli import app
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

DEAD = keys.dead("default")
MODULE = """
from pathlib import Path
from workd import task

@task
def guarded(name: str) -> str:
    if not Path("repaired").exists():
        raise ValueError(f"not repaired: {name}")
    return f"done: {name}"

@task
def square(x: int) -> int:
    return x * x
"""


@pytest.fixture
def url(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that the commands find in their environment."""
    monkeypatch.setenv("WORKD_REDIS_URL", valkey.url)
    return valkey.url


@pytest.fixture
def daemon(url: str, tmp_path: Path) -> Iterator[DaemonProcess]:
    (tmp_path / "dead_letter_tasks.py").write_text(MODULE)
    with DaemonProcess(url, tmp_path, modules=("dead_letter_tasks",)) as running:
        yield running.wait_ready()


def lay(server: Server, **changes: str) -> str:
    fields = {"m": '{"task":"square","args":[4]}', "reason": "failed", "id": "job-1", "task": "square"} | changes
    return str(server.client().xadd(DEAD, fields), "ascii")  # type: ignore[arg-type]


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert app.call(["dead", "list", "--json", *words]) == Exit.OK
    letters: list[dict[str, str]] = json.loads(capsys.readouterr().out)["letters"]
    return letters


def test_what_failed_is_replayed_after_the_repair_and_its_waiting_producers_get_the_value(
    daemon: DaemonProcess, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(url) as client:
        named = client.with_options(id="mine").enqueue("guarded", "a")
        plain = client.enqueue("guarded", "b")
        for handle in (named, plain):
            with pytest.raises(JobFailedError, match="not repaired"):
                handle.get(timeout=20)
        letters = listed(capsys, "--error", "not repaired")
        assert {letter["id"] for letter in letters} == {"mine", plain.id}
        (tmp_path / "repaired").touch()
        assert app.call(["dead", "replay", "--task", "guarded"]) == Exit.OK
        assert capsys.readouterr().out == "replayed 2 of 2\n"
        for handle, value in ((named, "done: a"), (plain, "done: b")):
            again = client.result(handle.id)
            assert eventually(lambda again=again: again.status() == "succeeded", timeout_s=40)  # type: ignore[misc]
            assert again.get(timeout=20) == value
    assert listed(capsys) == []


def test_a_message_that_was_wrong_is_mended_and_runs(
    daemon: DaemonProcess, url: str, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valkey.client().xadd(keys.stream("default"), {"m": '{"task":"square","args":["four"],"id":"x","result_ttl":60}'})
    eventually(lambda: valkey.client().xlen(DEAD))
    [letter] = listed(capsys, "--reason", "invalid")
    assert app.call(["dead", "show", letter["entry_id"]]) == Exit.OK
    shown = capsys.readouterr().out
    assert "args.0" in shown or "InvalidArguments" in shown or "valid integer" in shown
    mended = tmp_path / "mended.json"
    mended.write_text('{"task":"square","args":4}')
    assert app.call(["dead", "edit", letter["entry_id"], "--message", str(mended)]) == Exit.USAGE
    assert "nothing was changed" in capsys.readouterr().err
    mended.write_text('{"task":"square","args":[4],"id":"x","result_ttl":60}')
    assert app.call(["dead", "edit", letter["entry_id"], "--message", str(mended)]) == Exit.OK
    with Client(url) as client:
        assert client.result("x").get(timeout=20) == 16


def test_an_editor_mends_a_message_or_changes_nothing(
    url: str, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry_id = lay(valkey)
    editor = tmp_path / "editor.py"
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    editor.write_text("")
    assert app.call(["dead", "edit", entry_id]) == Exit.FAILURE
    assert capsys.readouterr().err == "workd: nothing was changed\n"
    editor.write_text("import sys; open(sys.argv[1], 'a').write(' '); sys.exit(1)")
    assert app.call(["dead", "edit", entry_id]) == Exit.FAILURE
    editor.write_text(
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text().replace('4', '5'))"
    )
    assert app.call(["dead", "edit", entry_id]) == Exit.OK
    found: Any = valkey.client().xrange(keys.stream("default"))
    [(_, fields)] = found
    assert json.loads(fields[b"m"]) == {"task": "square", "args": [5]}
    monkeypatch.setenv("EDITOR", str(tmp_path / "absent"))
    assert app.call(["dead", "edit", lay(valkey)]) == Exit.USAGE
    assert "does not start" in capsys.readouterr().err


def test_what_somebody_wrote_in_an_editor_is_not_lost_with_a_mistake_in_it(
    url: str, valkey: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry_id = lay(valkey)
    editor = tmp_path / "editor.py"
    editor.write_text('import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(\'{"task": "square", }\')')
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert app.call(["dead", "edit", entry_id]) == Exit.USAGE
    kept, refused = capsys.readouterr().err.splitlines()
    file = tmp_path / kept.rpartition("/")[2]
    assert kept.startswith("workd: what you wrote is kept")
    assert "nothing was changed" in refused
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(file.read_text().replace(", }", ', "args": [5]}'))
    assert app.call(["dead", "edit", entry_id, "--message", str(file)]) == Exit.OK


def test_a_list_is_a_table_of_the_newest_with_a_way_on(
    url: str, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [lay(valkey, error='{"type":"ValueError","message":"two\\nlines"}') for _ in range(3)]
    assert app.call(["dead", "list", "--limit", "2"]) == Exit.OK
    printed = capsys.readouterr()
    head, first, second = (line.split("\t") for line in printed.out.splitlines())
    assert head == ["ENTRY", "DIED", "REASON", "TASK", "JOB", "RUNS", "ERROR"]
    assert (first[0], second[0]) == (ids[2], ids[1])
    assert first[6] == "ValueError: two lines"
    assert printed.err == f"workd: there may be more: --after {ids[1]}\n"
    assert [letter["entry_id"] for letter in listed(capsys, "--after", ids[1])] == [ids[0]]


def test_named_letters_are_replayed_and_those_that_cannot_be_are_told(
    url: str, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    good, empty = lay(valkey), lay(valkey, m="", entry="{}")
    assert app.call(["dead", "replay", empty, good, "1-1"]) == Exit.FAILURE
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert f"dead letter {empty} of queue default: it has no message" in told[0]
    assert "dead letter 1-1 of queue default: it is not there" in told[1]
    assert valkey.client().xlen(keys.stream("default")) == 1
    assert app.call(["dead", "replay", "--all", "--json"]) == Exit.FAILURE
    assert json.loads(capsys.readouterr().out) == {"replayed": 0, "looked": 1, "held": 0, "empty": 1, "refused": {}}


def test_a_purge_wants_a_yes(url: str, valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    one, _ = lay(valkey), lay(valkey, reason="timeout")
    assert app.call(["dead", "purge", "--all"]) == Exit.USAGE
    assert "add --yes" in capsys.readouterr().err
    assert valkey.client().xlen(DEAD) == 2
    assert app.call(["dead", "purge", "--reason", "timeout", "--yes"]) == Exit.OK
    assert capsys.readouterr().out == "purged 1 of 2\n"
    assert app.call(["dead", "purge", one, "--yes"]) == Exit.OK
    assert app.call(["dead", "purge", one, "--yes"]) == Exit.FAILURE
    assert valkey.client().xlen(DEAD) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay"], "say which"),
        (["replay", "1-1", "--all"], "only one of these"),
        (["purge", "--yes"], "say which"),
        (["list", "--reason", "faild"], "reason: 'faild' is none"),
        (["list", "--since", "yesterday"], "'yesterday' is no time"),
        (["show", "job-1"], "is no id of a dead letter"),
        (["list", "--queue", "{}"], "no queue name"),
        (["list", "--limit", "0"], "--limit"),
        (["edit", "1-1", "--message", "/nowhere"], "it is not there"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    url: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.call(["dead", *words]) in (Exit.USAGE, Exit.FAILURE)
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["dead", "list", "--redis-url", "redis://127.0.0.1:1/0"]) == Exit.REDIS
    assert len(capsys.readouterr().err.splitlines()) == 1
