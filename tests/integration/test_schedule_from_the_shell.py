"""`workd schedule …`: what the settings say, and up to when Redis knows it to be done."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from workd.broker import keys
from workd.cli import app
from workd.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

FILE = """
[schedule.nightly]
task = "report"
cron = "0 3 * * *"
timezone = "Europe/Berlin"

[schedule.often]
task = "tick"
cron = "*/20 * * * * *"
queue = "images"

[schedule.never]
task = "tick"
cron = "@yearly"
enabled = false
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the commands find in their environment."""
    file = tmp_path / "workd.toml"
    file.write_text(FILE)
    monkeypatch.setenv("WORKD_CONFIG", str(file))
    return file


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert app.call(["schedule", *words, "--json"]) == Exit.OK
    return json.loads(capsys.readouterr().out)


def test_the_next_fire_times_come_in_order_without_redis(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fires = printed(capsys, "next", "--count", "5")
    assert [fire["name"] for fire in fires].count("often") >= 4
    assert [fire["at"] for fire in fires] == sorted(fire["at"] for fire in fires)
    assert all(fire["at"] > time.time() - 60 for fire in fires)
    [nightly, _] = printed(capsys, "next", "nightly", "--count", "2")
    assert datetime.fromisoformat(nightly["at_utc"]).hour in (1, 2)
    assert app.call(["schedule", "next", "nightly", "-n", "1"]) == Exit.OK
    head, line = (row.split("\t") for row in capsys.readouterr().out.splitlines())
    assert head == ["HERE", "IN ITS ZONE", "NAME", "TASK"]
    assert " 03:00:00+0" in line[1]
    assert line[2:] == ["nightly", "report"]
    [never] = printed(capsys, "next", "never", "-n", "1")
    assert never["at_utc"].endswith("-01-01T00:00:00+00:00")


def test_lines_are_listed_with_what_is_done(config: Path, valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    valkey.client().hset(keys.cron("images"), mapping={"often": "1900000000 abc", "strange": "x"})
    lines = {line["name"]: line for line in printed(capsys, "list", "--redis-url", valkey.url)}
    assert list(lines) == ["nightly", "often", "never"]
    assert [line["up_to"] for line in lines.values()] == [None, 1_900_000_000, None]
    assert lines["never"]["next"] is None
    assert lines["nightly"]["next"] > time.time() - 60
    assert app.call(["schedule", "list", "--redis-url", valkey.url]) == Exit.OK
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_where_redis_is_away_the_lines_are_listed_all_the_same(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.call(["schedule", "list", "--redis-url", "redis://127.0.0.1:1/0"]) == Exit.OK
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 4
    assert "no connection to Redis" in told.err


def test_what_is_wrong_is_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["schedule", "next", "nightlie"]) == Exit.USAGE
    assert "there is no line 'nightlie' in the schedule; there are: nightly, often, never" in capsys.readouterr().err
    config.write_text(FILE.replace("Europe/Berlin", "Europe/Atlantis"))
    assert app.call(["schedule", "list"]) == Exit.CONFIG
    assert "schedule.nightly.timezone: there is no time zone 'Europe/Atlantis'" in capsys.readouterr().err


def test_lines_of_tasks_are_shown_where_their_module_is_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    name = "schedule_shell_tasks"
    (tmp_path / f"{name}.py").write_text(
        'from workd import task\nprint("hello")\n'
        '@task(cron="@hourly", queue="images")\ndef shell_hourly() -> None: ...\n'
    )
    lines = {
        line["name"]: line for line in printed(capsys, "list", "--tasks", name, "--redis-url", "redis://127.0.0.1:1")
    }
    assert list(lines) == ["shell_hourly", "nightly", "often", "never"]
    assert (lines["shell_hourly"]["cron"], lines["shell_hourly"]["queue"]) == ("@hourly", "images")
    [fire] = printed(capsys, "next", "shell_hourly", "--tasks", name, "-n", "1")
    assert fire["at"] % 3600 == 0
