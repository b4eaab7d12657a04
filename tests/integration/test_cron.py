"""A schedule on real daemons: each fire time once, whatever happens to the daemons."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.waiting import eventually
from workd.broker import keys
from workd.crontab import job_id

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

MODULE = """
from pathlib import Path
from workd import context, task

@task
def tick(number: int) -> None:
    with Path("ticks").open("a") as file:
        file.write(f"{context().id}\\n")
"""
SCHEDULE = """
[schedule.each-second]
task = "tick"
cron = "* * * * * *"
args = [1]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "cron_tasks.py").write_text(MODULE)
    file = tmp_path / "workd.toml"
    file.write_text(SCHEDULE)
    return file


def daemon(server: Server, config: Path) -> DaemonProcess:
    return DaemonProcess(server.url, config.parent, modules=("cron_tasks",), config=config, workers=1)


def ticks(folder: Path) -> list[str]:
    journal = folder / "ticks"
    return journal.read_text().splitlines() if journal.exists() else []


def ticked(folder: Path, count: int) -> bool:
    return len(ticks(folder)) >= count


def assert_each_second_once(found: list[str]) -> None:
    stamps = sorted(datetime.fromisoformat(one.partition("each-second:")[2]).timestamp() for one in found)
    first_s = int(stamps[0])
    assert [int(stamp) - first_s for stamp in stamps] == list(range(len(stamps)))


def test_two_daemons_fire_each_second_once_and_go_on_when_one_is_killed(
    valkey: Server, config: Path, tmp_path: Path
) -> None:
    with daemon(valkey, config) as one, daemon(valkey, config) as two:
        one.wait_ready()
        two.wait_ready()
        eventually(partial(ticked, tmp_path, 4), timeout_s=40)
        assert_each_second_once(ticks(tmp_path))
        one.kill()
        before = len(ticks(tmp_path))
        eventually(partial(ticked, tmp_path, before + 3), timeout_s=40)
        two.term()
        assert two.wait() == 0
    assert_each_second_once(list(set(ticks(tmp_path))))  # what the dead one was running may have run twice


def test_what_an_outage_of_all_daemons_has_missed_is_made_up_for_by_the_last(
    valkey: Server, config: Path, tmp_path: Path
) -> None:
    config.write_text(SCHEDULE.replace("* * * * * *", "@hourly"))
    client = valkey.client()
    now_s = int(time.time())
    hour_s = now_s - now_s % 3600
    with daemon(valkey, config) as first:
        first.wait_ready()
        eventually(lambda: client.hget(keys.cron("default"), "each-second"))
        assert ticks(tmp_path) == []
        first.term()
        assert first.wait() == 0
    told = bytes(client.hget(keys.cron("default"), "each-second") or b"").split()  # type: ignore[arg-type]
    client.hset(keys.cron("default"), "each-second", f"{hour_s - 7_100} {told[1].decode()}")
    with daemon(valkey, config) as second:
        second.wait_ready()
        eventually(partial(ticked, tmp_path, 1), timeout_s=40)
        second.term()
        assert second.wait() == 0
    assert ticks(tmp_path)[:1] == [job_id("each-second", hour_s)]


def test_a_line_that_never_fires_ends_the_daemon_at_its_start(valkey: Server, config: Path) -> None:
    config.write_text(SCHEDULE.replace("* * * * * *", "0 0 30 2 *"))
    with daemon(valkey, config) as process:
        assert process.wait() == 3
        assert "schedule.each-second: '0 0 30 2 *' is no cron line, or never fires" in process.log_text()


def test_a_task_that_nobody_knows_yet_is_told_and_fires_all_the_same(valkey: Server, config: Path) -> None:
    config.write_text(SCHEDULE.replace('"tick"', '"new_tick"'))
    with daemon(valkey, config) as process:
        process.wait_log("a line of the schedule has a task that is not known here")
        process.wait_ready()
        eventually(lambda: valkey.client().exists(keys.scheduled("default")), timeout_s=40)


def test_a_task_with_a_line_of_its_own_fires_without_a_file(valkey: Server, tmp_path: Path) -> None:
    module = MODULE.replace("@task", '@task(cron="* * * * * *")').replace("number: int", "")
    (tmp_path / "own_cron_tasks.py").write_text(module)
    with DaemonProcess(valkey.url, tmp_path, modules=("own_cron_tasks",)) as process:
        process.wait_ready()
        eventually(partial(ticked, tmp_path, 2), timeout_s=40)
        process.term()
        assert process.wait() == 0
    assert ticks(tmp_path)[0].startswith("cron:tick:")
    (tmp_path / "own_cron_tasks.py").write_text(module.replace("* * * * * *", "0 0 30 2 *"))
    with DaemonProcess(valkey.url, tmp_path, modules=("own_cron_tasks",)) as process:
        assert process.wait() == 4
        assert "task 'tick': option cron: '0 0 30 2 *' is no cron line, or never fires" in process.log_text()
