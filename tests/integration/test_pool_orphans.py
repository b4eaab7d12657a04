"""When the supervisor is killed, everything that it started is gone, whatever it was doing at that moment."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from support.pool_owner import SEARCH_PATH
from support.processes import children, is_alive
from support.waiting import eventually

SUPERVISOR = """
import asyncio, json, os, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from support.pool_owner import running_pool

async def main():
    async with running_pool(2, runner=json.loads(sys.argv[3])) as owner:
        told = {"forkserver": owner.pool.boots.forkserver_pid}
        told["workers"] = [slot.tenant.pid for slot in owner.pool.slots]
        told["values"] = []
        *first, last = json.loads(sys.argv[2])
        for operation in first:
            told["values"].append(await owner.submit(*operation))
        jobs = owner.submit_many([last] * 2)
        await asyncio.sleep(0.2)
        if os.environ.get("FORK_A_CHILD"):
            told["child"] = os.fork()
            if not told["child"]:
                time.sleep(60)
                os._exit(0)
        print(json.dumps(told), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@contextmanager
def supervisor(*operations: list[object], **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run a supervisor whose two workers are on the last of these operations, after the ones before it."""
    path = [*SEARCH_PATH, *sys.path]
    command = [sys.executable, "-c", SUPERVISOR, json.dumps(path), json.dumps(operations), "{}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("operation", [["sleep", 60], ["spin", 60], ["hold_gil", 60], ["stop_itself"]])
def test_a_killed_supervisor_leaves_no_process_whatever_they_do(operation: list[object]) -> None:
    with supervisor(operation) as (process, told):
        family = [told["forkserver"], *told["workers"]]
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: not [member for member in family if is_alive(member)], timeout_s=10)


def test_what_the_tasks_had_started_goes_too() -> None:
    with supervisor(["leave_child", 100], ["sleep", 60]) as (process, told):
        child = told["values"][0]
        assert is_alive(child)
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: not is_alive(child), timeout_s=10)


def test_a_child_that_the_host_program_forked_keeps_no_worker_alive() -> None:
    with supervisor(["hold_gil", 60], FORK_A_CHILD="1") as (process, told):
        family = [told["forkserver"], *told["workers"]]
        process.send_signal(signal.SIGKILL)
        try:
            eventually(lambda: not [member for member in family if is_alive(member)], timeout_s=10)
        finally:
            with suppress(ProcessLookupError):
                os.kill(told["child"], signal.SIGKILL)
            process.wait()


def test_workers_of_a_new_forkserver_are_tied_to_the_supervisor_too() -> None:
    with supervisor(["sleep", 60]) as (process, told):
        os.kill(told["forkserver"], signal.SIGKILL)
        for pid in told["workers"]:
            os.kill(pid, signal.SIGKILL)
        (new,) = eventually(lambda: [pid for pid in children(process.pid) if pid != told["forkserver"]])
        eventually(lambda: len(children(new)) == 2)
        family = [new, *children(new)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: not [member for member in family if is_alive(member)], timeout_s=10)
