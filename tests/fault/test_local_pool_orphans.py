"""When a program with a `workd.Pool` is killed, its workers and its forkserver are gone within 2 s, busy or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support import fault_calls, fault_pools
from support.local_pools import begun, processes
from support.processes import is_alive, stop
from support.waiting import eventually
from workd import faultpoints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GONE_S = 2.0

START = """
import multiprocessing, os, sys
from support import fault_calls, fault_pools
from support.waiting import eventually
from workd import Pool

name, folder = sys.argv[1:3]
busy = getattr(fault_calls, name, None) or getattr(fault_pools, name)
pool = Pool(2, context=multiprocessing.get_context(sys.argv[3]))
"""

HOLD = f"""{START}
for _ in range(2):
    pool.apply_async(busy, (folder,))
fault_calls.signal.pause()
"""

GO_ON = f"""{START}
pool.apply_async(busy, (folder,))
eventually(lambda: os.listdir(folder))
pool.map(fault_calls.double, range(100), chunksize=1)
pool.apply(fault_calls.large, (5_000_000,))
pool.apply_async(fault_calls.exit_now, (3,)).wait()
pool.map(fault_calls.double, range(10), chunksize=1)
pool.reload()
pool.terminate()
"""


def start(
    program: str, busy: Callable[..., object], folder: Path, *, point: str = "", method: str = "forkserver"
) -> subprocess.Popen[bytes]:
    """Start a program whose pool runs `busy`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), faultpoints.VARIABLE: point}
    return subprocess.Popen([sys.executable, "-c", program, busy.__name__, str(folder), method], env=environment)


def kill(program: subprocess.Popen[bytes]) -> None:
    program.kill()
    program.wait()


@pytest.mark.parametrize("busy", [*fault_calls.BUSY, fault_pools.hold_a_pool, fault_pools.hold_a_standard_pool])
def test_a_program_that_is_killed_leaves_no_process_whatever_its_workers_do(
    nothing_left: str, tmp_path: Path, busy: Callable[..., object]
) -> None:
    pools_in_workers = busy in {fault_pools.hold_a_pool, fault_pools.hold_a_standard_pool}
    with start(HOLD, busy, tmp_path) as program:
        begun(tmp_path, calls=4 if pools_in_workers else 2)
        kill(program)
        eventually(lambda: not processes(nothing_left), timeout_s=GONE_S)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_it_leaves_none_whatever_way_its_workers_were_made(nothing_left: str, tmp_path: Path, method: str) -> None:
    with start(HOLD, fault_calls.sleep_in_c, tmp_path, method=method) as program:
        begun(tmp_path, calls=2)
        kill(program)
        eventually(lambda: not processes(nothing_left), timeout_s=GONE_S)


def test_children_of_calls_go_with_it(nothing_left: str, tmp_path: Path) -> None:
    with start(HOLD, fault_calls.start_a_child_and_sleep, tmp_path) as program:
        begun(tmp_path, calls=2)
        assert len(processes(nothing_left)) == 6  # the program, the forkserver, two workers and their children
        kill(program)
        eventually(lambda: not processes(nothing_left), timeout_s=GONE_S)


def test_a_forkserver_that_is_stopped_goes_with_it(nothing_left: str, tmp_path: Path) -> None:
    with start(HOLD, fault_calls.sleep_after_telling, tmp_path) as program:
        begun(tmp_path, calls=2)
        for pid in processes(nothing_left):
            if pid != program.pid:
                stop(pid)
        kill(program)
        eventually(lambda: not processes(nothing_left), timeout_s=GONE_S)


STEPS = [
    "supervisor_asked_fork",
    "supervisor_asked_fork:3",  # for the worker that takes the place of the dead one
    "supervisor_asked_reap",
    "supervisor_forked",
    "supervisor_forked:3",
    "supervisor_ready",
    "supervisor_ready:3",
    "supervisor_before_handover",
    "supervisor_before_handover:40",
    "supervisor_after_handover",
    "supervisor_after_handover:40",
    "supervisor_mid_result",
    "supervisor_before_outcome:40",
    "supervisor_after_outcome:40",
    "supervisor_on_death",
    "supervisor_reaped",
    "supervisor_reloading",
    "supervisor_swapping",
    "supervisor_stopping",
]


@pytest.mark.parametrize(("number", "point"), list(enumerate(STEPS)))
def test_a_program_that_dies_at_any_step_leaves_no_process(
    nothing_left: str, tmp_path: Path, number: int, point: str
) -> None:
    busy = fault_calls.BUSY[number % len(fault_calls.BUSY)]  # what the other worker is at meanwhile
    with start(GO_ON, busy, tmp_path, point=point) as program:
        assert program.wait(30) == -signal.SIGKILL, "the point was not reached"
        eventually(lambda: not processes(nothing_left), timeout_s=GONE_S)


def test_a_program_that_ends_by_itself_with_busy_workers_leaves_no_process(nothing_left: str, tmp_path: Path) -> None:
    ending = f"{START}\npool.apply_async(busy, (folder,))\neventually(lambda: os.listdir(folder))\n"
    with start(ending, fault_calls.sleep_in_c, tmp_path) as program:
        assert program.wait(20) == 0
        assert not [pid for pid in processes(nothing_left) if is_alive(pid)]
