"""What signals ask of a running daemon: quiet, stop now, a worker more or fewer, what runs; and whom they pass by."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.daemons import clean_environment
from support.fault_queue import message
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

PROMPT_S = 40.0  # an end that waits for nothing, on a machine that is busy with other things
QUIET = "quiet: nothing more is fetched or started here"
SAY_WHAT_IS_IGNORED = """
import atexit, pathlib, signal, sys
def say(path=pathlib.Path(__file__).with_name("ignored")):
    numbers = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    path.write_text(" ".join(signal.Signals(number).name for number in numbers))
if "run" in sys.orig_argv:
    atexit.register(say)
"""


def health(tmp_path: Path, path: str) -> tuple[int, dict[str, Any]]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "health"))) as client:
        answer = client.get(f"http://daemon{path}")
        return answer.status_code, answer.json()


def held(queue: FaultQueue, daemon: DaemonProcess, gate: str) -> str:
    """Have a job run that waits at a gate."""
    job = queue.push("hold", gate)
    queue.run(job)
    return job


# ── QUIT ──


def test_quit_ends_at_once_and_hands_back_what_ran_with_its_attempt_refunded(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(workers=1, drain_s=600)
    queue.warm_up("step")
    head, *behind = queue.push_together(message("step", "gate"), *[message("step")] * 5)
    queue.run(head)
    daemon.send(signal.SIGQUIT)
    assert daemon.wait(PROMPT_S) == 0
    assert sorted(entry["n"] for entry in queue.entries()) == [b"0 0 0 0"] * 5 + [b"0 0 0 1"]
    assert not queue.pending()
    assert daemon.daemon_id not in queue.leases() | queue.consumers()
    queue.open_gate("gate")
    start_daemon()
    queue.succeeded(head, attempts=1, deliveries=2)
    for job in behind:
        queue.succeeded(job, attempts=1, deliveries=1)


def test_quit_ends_a_drain_that_is_under_way(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(drain_s=600)
    job = held(queue, daemon, "gate")
    daemon.term()
    daemon.wait_log("draining", timeout_s=PROMPT_S)
    daemon.send(signal.SIGQUIT)
    assert daemon.wait(PROMPT_S) == 0
    queue.open_gate("gate")
    start_daemon()
    queue.succeeded(job, attempts=1, deliveries=2)


def test_what_comes_when_the_daemon_has_ended_changes_nothing_of_its_exit_code(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SAY_WHAT_IS_IGNORED)
    daemon = start_daemon(environment={"PYTHONPATH": f"{folder}:{clean_environment()['PYTHONPATH']}"})
    daemon.term()
    assert daemon.wait(PROMPT_S) == 0
    # A handler of Python's own would be given up before the process is gone, and the signal would end it.
    ignored = (folder / "ignored").read_text().split()
    assert {"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU"} <= set(ignored)


# ── USR1 ──


def test_a_quiet_daemon_finishes_what_runs_hands_back_the_rest_and_takes_nothing_more(
    queue: FaultQueue, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon(workers=1, http=f"unix:{tmp_path}/health")
    assert health(tmp_path, "/readyz")[0] == 200
    queue.warm_up("step")
    head, *behind = queue.push_together(message("step", "gate"), *[message("step")] * 5)
    queue.run(head)
    daemon.send(signal.SIGUSR1)
    daemon.wait_log(QUIET, timeout_s=PROMPT_S)
    status, report = health(tmp_path, "/readyz")
    assert (status, report["state"]) == (503, "quiet")
    assert "quiet" in report["reasons"][0]
    assert health(tmp_path, "/livez")[0] == 200
    later = queue.push("quick", 7)
    other = start_daemon(workers=1)
    for job in (*behind, later):
        queue.succeeded(job, attempts=1, deliveries=1)
    assert {run.pid for job in (*behind, later) for run in queue.runs(job)} == set(other.worker_pids())
    queue.open_gate("gate")
    queue.succeeded(head, attempts=1, deliveries=1)
    daemon.send(signal.SIGUSR1)
    daemon.term()
    assert daemon.wait(PROMPT_S) == 0
    assert len(daemon.log(QUIET)) == 1, "a second time changes nothing"


def test_a_daemon_can_be_told_to_be_quiet_while_it_boots(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    job = queue.push("quick")
    daemon = start_daemon(ready=False, modules=("support.slow_boot_tasks", "support.fault_tasks"))
    daemon.wait_log("starting", timeout_s=PROMPT_S)
    eventually((queue.folder / "importing").exists, PROMPT_S)
    daemon.send(signal.SIGUSR1)
    queue.open_gate("import")
    daemon.wait_log(QUIET, timeout_s=20)
    daemon.wait_log("connected to Redis", timeout_s=20)
    start_daemon()
    queue.succeeded(job, attempts=1)
    (run,) = queue.runs(job)
    assert run.pid not in daemon.worker_pids()


def test_a_signal_before_anybody_could_hear_it_is_obeyed_later(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(ready=False)
    eventually(daemon.forkserver_pids, 20)
    daemon.send(signal.SIGHUP)
    daemon.send(signal.SIGTTIN)
    daemon.wait_ready()
    daemon.wait_log("reloaded", timeout_s=30)
    assert daemon.log("scaling")


# ── TTIN, TTOU ──


def test_workers_come_and_go_one_by_one_and_none_with_a_job(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(workers=1)
    for count in (2, 3):
        daemon.send(signal.SIGTTIN)
        daemon.wait_workers(count)
    jobs = [held(queue, daemon, "gate") for _ in range(3)]
    for count in (1, 2, 3):  # the last one asks for less than one
        daemon.send(signal.SIGTTOU)
        if count < 3:
            daemon.wait_log("scaling", count=2 + count, timeout_s=PROMPT_S)
    daemon.send(signal.SIGUSR2)
    assert daemon.wait_log("x-ray", timeout_s=PROMPT_S)["workers"] == 1
    queue.open_gate("gate")
    for job in jobs:
        queue.succeeded(job, attempts=1, deliveries=1)
    daemon.wait_workers(1)
    assert len(daemon.log("scaling")) == 4, "the last one cannot go"


def test_a_worker_that_was_told_to_go_and_is_wanted_again_stays(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(workers=2)
    workers = daemon.worker_pids()
    jobs = [held(queue, daemon, "gate") for _ in range(2)]
    for count in (1, 3, 5):
        daemon.send(signal.SIGTTOU)
        daemon.wait_log("scaling", count=count, timeout_s=PROMPT_S)
        daemon.send(signal.SIGTTIN)
        daemon.wait_log("scaling", count=count + 1, timeout_s=PROMPT_S)
    jobs += [queue.push("hold", "gate") for _ in range(10)]
    queue.open_gate("gate")
    for job in jobs:
        queue.succeeded(job, attempts=1, deliveries=1)
    assert {run.pid for job in jobs for run in queue.runs(job)} <= set(workers), "never more jobs at once than workers"
    assert set(daemon.wait_workers(2)) == set(workers)


# ── USR2 ──


def test_what_runs_is_written_into_the_log(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    job = held(queue, daemon, "gate")
    daemon.send(signal.SIGUSR2)
    daemon.wait_log("x-ray", timeout_s=PROMPT_S)
    assert job in json.dumps([line for line in daemon.log() if "x-ray" in line["event"]])
    queue.open_gate("gate")
    queue.succeeded(job, deliveries=1)


# ── whom they pass by ──


@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGTERM"])
def test_a_signal_to_every_process_of_the_unit_passes_by_workers_and_forkserver(
    queue: FaultQueue, start_daemon: StartDaemon, name: str
) -> None:
    daemon = start_daemon()
    job = held(queue, daemon, "gate")
    workers, forkservers = daemon.worker_pids(), daemon.forkserver_pids()
    for pid in (*workers, *forkservers):
        os.kill(pid, signal.Signals[name])
    queue.open_gate("gate")
    queue.succeeded(job, attempts=1, deliveries=1)
    assert (daemon.worker_pids(), daemon.forkserver_pids()) == (workers, forkservers)
