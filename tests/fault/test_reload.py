"""SIGHUP brings in new code and settings under load: nothing is lost or run twice, what is wrong changes nothing."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

import pytest

from support.changing_code import ENVIRONMENT, MODULE, ChangingCode
from support.fault_queue import message
from support.notify import NotifySocket
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

PROMPT_S = 40.0  # an end that waits for nothing, on a machine that is busy with other things
RELOAD_S = 30.0
LOAD = 2_000

DOOMED = """
@task(result_ttl=600)
def doomed() -> int:
    return 1
"""
FRESH = DOOMED.replace("doomed", "fresh").replace("1", "2")
FLAKY = """
@task(result_ttl=600)
def flaky() -> int:
    raise ValueError
"""
LIMITED = """
@task(result_ttl=600, concurrency_limit=1)
def limited(gate: str) -> None:
    note("start")
    wait_at(gate)
"""


@pytest.fixture
def code(tmp_path: Path) -> ChangingCode:
    code = ChangingCode(tmp_path)
    code.write("one")
    return code


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as manager:
        yield manager


class Start(Protocol):
    def __call__(self, **settings: object) -> DaemonProcess: ...


@pytest.fixture
def start(start_daemon: StartDaemon, code: ChangingCode, manager: NotifySocket) -> Start:
    """Starts a daemon that runs the code that changes."""

    def start(**settings: object) -> DaemonProcess:
        chosen = {"modules": (MODULE,), "environment": ENVIRONMENT | manager.environment()} | settings
        return start_daemon(ready=True, **chosen)

    return start


def reload(daemon: DaemonProcess, count: int = 1, event: str = "reloaded") -> None:
    """Ask for a reload, and wait for its end, which is the daemon's `count`th of that kind."""
    daemon.send(signal.SIGHUP)
    daemon.wait_log(event, count=count, timeout_s=RELOAD_S)


def version_of(queue: FaultQueue) -> object:
    return queue.succeeded(queue.push("version"))["value"]


# ── code ──


def test_new_code_comes_in_under_load_and_nothing_is_lost_or_run_twice(
    queue: FaultQueue, start: Start, code: ChangingCode
) -> None:
    daemon = start()
    jobs = []
    for number, version in enumerate(("two", "three", "four"), 1):
        jobs += queue.push_together(*[message("version")] * LOAD)
        code.write(version)
        reload(daemon, number)
        jobs += queue.push_together(*[message("version")] * LOAD)
    outcomes = queue.all_ended(jobs, timeout_s=60)
    assert {(outcome["status"], outcome["deliveries"]) for outcome in outcomes.values()} == {("succeeded", 1)}
    assert {outcome["value"] for outcome in outcomes.values()} <= {"one", "two", "three", "four"}
    assert len(queue.runs()) == len(jobs)
    assert version_of(queue) == "four"
    queue.assert_empty()


def test_a_job_that_runs_ends_with_the_code_it_began_with_and_holds_up_nobody(
    queue: FaultQueue, start: Start, code: ChangingCode
) -> None:
    daemon = start(workers=2)
    old = queue.push("version", "gate")
    queue.run(old)
    code.write("two")
    reload(daemon)
    assert version_of(queue) == "two"
    queue.open_gate("gate")
    queue.succeeded(old, value="one", attempts=1, deliveries=1)
    eventually(lambda: len(daemon.forkserver_pids()) == 1, PROMPT_S)  # the former one has gone
    daemon.wait_workers(2)


@pytest.mark.parametrize(
    "wrong",
    [
        "def (",
        "raise RuntimeError('no database')",
        "import nothing_of_that_name",
        "exit(3)",
        "raise RuntimeError('half of a pair: \\ud800, a zero: \\0, and much: ' + '\\U0001f600' * 5000)",
        "class Mute(Exception):\n    def __str__(self):\n        raise KeyError\nraise Mute",
    ],
)
def test_code_that_does_not_load_changes_nothing_and_is_said(
    queue: FaultQueue, start: Start, code: ChangingCode, manager: NotifySocket, wrong: str
) -> None:
    daemon = start()
    workers = daemon.worker_pids()
    code.write_raw(wrong)
    reload(daemon, event="the reload failed; everything goes on as before")
    assert MODULE in manager.wait_status("the reload failed")
    assert version_of(queue) == "one"
    assert daemon.worker_pids() == workers
    code.write("two")
    reload(daemon)
    assert version_of(queue) == "two"
    manager.wait("RELOADING", count=2)
    manager.wait("READY", count=3)
    assert "failed" not in manager.wait_status("consuming")


def test_workers_that_do_not_come_up_with_new_code_leave_the_former_ones(
    queue: FaultQueue, start: Start, code: ChangingCode
) -> None:
    daemon = start()
    code.write(
        "two", "import workd_tasks\n@workd_tasks.on_worker_start\ndef fail():\n    raise RuntimeError('no room')\n"
    )
    reload(daemon, event="the reload failed; everything goes on as before")
    assert version_of(queue) == "one"


def test_new_tasks_are_known_changed_ones_have_their_new_options_and_gone_ones_are_unknown(
    queue: FaultQueue, start: Start, code: ChangingCode
) -> None:
    code.write("one", DOOMED + FLAKY)
    daemon = start(unknown_task_s=0)
    queue.succeeded(queue.push("doomed"))
    queue.ended(queue.push("flaky"), status="dead", attempts=1)
    queue.ended(queue.push("fresh"), status="dead")
    code.write("two", FRESH + FLAKY.replace("ttl=600", "ttl=600, max_retries=2, backoff_s=0.01"))
    reload(daemon)
    line = daemon.log("reloaded")[0]
    assert (line["new"], line["gone"]) == (["fresh"], ["doomed"])
    queue.succeeded(queue.push("fresh"), value=2)
    queue.ended(queue.push("flaky"), status="dead", attempts=3)
    queue.ended(queue.push("doomed"), status="dead")


def test_a_task_that_is_given_a_limit_by_new_code_keeps_it(queue: FaultQueue, start: Start, code: ChangingCode) -> None:
    code.write("one", LIMITED.replace(", concurrency_limit=1", ""))
    daemon = start(workers=3)
    code.write("two", LIMITED)
    reload(daemon)
    first, second = queue.push("limited", "gate"), queue.push("limited", "gate")
    eventually(lambda: "waiting/limited" in queue.consumers(), PROMPT_S)
    eventually(lambda: len(queue.runs()) == 1, PROMPT_S)
    queue.open_gate("gate")
    queue.succeeded(first)
    queue.succeeded(second)


def test_lines_of_the_schedule_come_and_go_with_the_code(queue: FaultQueue, start: Start, code: ChangingCode) -> None:
    daemon = start()
    code.write("two", "@task(cron='* * * * * *')\ndef each_second() -> None:\n    note('start')\n")
    reload(daemon)
    daemon.wait_log("fired", count=2, timeout_s=PROMPT_S)
    code.write("three")
    reload(daemon, 2)
    assert version_of(queue) == "three"
    assert not queue.client.zcard(keys.scheduled("default"))
    code.write("four", "@task(cron='never')\ndef wrong() -> None: ...\n")
    reload(daemon, event="the reload failed; everything goes on as before")
    assert version_of(queue) == "three"


# ── settings ──


def test_settings_that_can_change_do_and_the_others_are_named(
    queue: FaultQueue, start: Start, code: ChangingCode, tmp_path: Path
) -> None:
    config = tmp_path / "workd.toml"
    config.write_text('drain_s = 600\nlog_level = "info"\n')
    daemon = start(config=config)
    job = queue.push("version", "gate")
    queue.run(job)
    config.write_text("drain_s = 0.1\nmax_retries = 3\n")
    reload(daemon, event="the reload failed; everything goes on as before")
    often = '[schedule.often]\ntask = "version"\ncron = "* * * * * *"\n'
    config.write_text(f'drain_s = 0.1\nqueues = ["default", "other"]\ntimeout_s = 0.2\n{often}')
    reload(daemon)
    assert daemon.log("reloaded")[0]["settings"] == ["drain_s", "timeout_s", "schedule"]
    ignored = daemon.wait_log("these settings can't change while the daemon runs: restart it", timeout_s=PROMPT_S)
    assert ignored["settings"] == ["queues"]
    daemon.wait_log("fired", timeout_s=PROMPT_S)
    queue.ended(queue.push("version", "never"), status="dead")  # by its time limit
    daemon.term()
    assert daemon.wait(PROMPT_S) == 0
    assert daemon.log("draining")[0]["deadline_s"] == 0.1


def test_the_number_of_workers_and_the_modules_can_change(
    queue: FaultQueue, start: Start, code: ChangingCode, tmp_path: Path
) -> None:
    config = tmp_path / "workd.toml"
    config.write_text(f'workers = 1\nmodules = ["{MODULE}"]\n')
    (tmp_path / "second_tasks.py").write_text("from workd_tasks import task\n" + FRESH)
    daemon = start(modules=(), config=config, workers=None)
    daemon.wait_workers(1)
    config.write_text(f'workers = 3\nmodules = ["{MODULE}", "second_tasks"]\n')
    reload(daemon)
    daemon.wait_workers(3)
    queue.succeeded(queue.push("fresh"), value=2)
    assert version_of(queue) == "one"


# ── several at once ──


def test_reloads_that_are_asked_for_during_one_are_one_more(
    queue: FaultQueue, start: Start, code: ChangingCode
) -> None:
    daemon = start()
    code.write("two", code.slow_import("import"))
    daemon.send(signal.SIGHUP)
    eventually((queue.folder / "importing-import").exists, RELOAD_S)
    for _ in range(3):
        daemon.send(signal.SIGHUP)
    code.write("three")
    queue.open_gate("import")
    daemon.wait_log("reloaded", count=2, timeout_s=RELOAD_S)
    assert version_of(queue) == "three"
    reload(daemon, 3)
    assert len(daemon.log("reloading")) == 3


def test_a_drain_does_not_wait_for_a_reload(queue: FaultQueue, start: Start, code: ChangingCode) -> None:
    daemon = start()
    job = queue.push("version", "gate")
    queue.run(job)
    code.write("two", code.slow_import("never"))
    daemon.send(signal.SIGHUP)
    eventually((queue.folder / "importing-never").exists, RELOAD_S)
    daemon.term()
    daemon.wait_log("draining", timeout_s=PROMPT_S)
    queue.open_gate("gate")
    assert daemon.wait(PROMPT_S) == 0
    queue.succeeded(job, value="one", attempts=1, deliveries=1)


# ── what systemd is told ──


def test_systemd_is_told_when_a_reload_begins_and_when_it_has_ended(
    queue: FaultQueue, start: Start, code: ChangingCode, manager: NotifySocket
) -> None:
    daemon = start()
    reload(daemon)
    manager.wait("READY", count=2)
    about_it = [message for message in manager.messages() if not message.keys() <= {"STATUS", "EXTEND_TIMEOUT_USEC"}]
    assert [sorted(message.keys() - {"STATUS"}) for message in about_it] == [
        ["READY"],
        ["MONOTONIC_USEC", "RELOADING"],
        ["READY"],
    ]
    assert int(about_it[1]["MONOTONIC_USEC"]) > 0
