"""Tasks of the fault tests: they write down each run, wait at gates, and die in every way there is.

Loaded by the daemons of `support.daemons`. The journal is one file of JSON lines, each written with one `write`, so
that lines of processes that are killed at any instant never mix. A gate is a file; it is open when it exists.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from workd_tasks import Reject, context, task

_FOLDER = Path(os.environ["FAULT_TEST_FOLDER"])
_JOURNAL = _FOLDER / "journal"
_TTL_S = 600
_POLL_S = 0.005


def note(event: str, **more: object) -> None:
    """Write a line about this run into the journal."""
    this = context()
    line = {"event": event, "id": this.id, "pid": os.getpid(), "delivery": this.delivery, "attempt": this.attempt}
    fd = os.open(_JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.write(fd, json.dumps(line | {"at": time.time()} | more).encode() + b"\n")
    finally:
        os.close(fd)


def wait_at(gate: str) -> None:
    """Wait until the gate is open, for all or for this delivery alone."""
    gates = (_FOLDER / gate, _FOLDER / f"{gate}-{context().delivery}")
    while not any(path.exists() for path in gates):
        time.sleep(_POLL_S)


@task(result_ttl=_TTL_S)
def quick(number: int = 0) -> int:
    """Return at once."""
    note("start")
    return number


@task(result_ttl=_TTL_S)
def hold(gate: str) -> int:
    """Wait at a gate and return this worker's pid."""
    note("start")
    wait_at(gate)
    note("end")
    return os.getpid()


@task(result_ttl=_TTL_S)
def step(gate: str = "", crash: bool = False) -> int:
    """Return at once, so that the daemon learns to buffer it; or wait at a gate; or crash at its first delivery."""
    note("start")
    if gate:
        wait_at(gate)
    if crash and context().delivery == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@task(result_ttl=_TTL_S)
def die(how: str, times: int = 1_000) -> str:
    """Take the worker down, at the first `times` deliveries; then return."""
    note("start")
    if context().delivery <= times:
        _DEATHS[how]()
        time.sleep(60)  # what did not kill at once has to kill by its consequences
    return "alive"


def _close_everything() -> None:
    os.closerange(0, 65_536)


def _fill_the_channel_with_rubbish() -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            if target.startswith("pipe:") and int(name) > 2:
                os.write(int(name), b"\xff" * 4096)
        except OSError:
            continue


_DEATHS = {
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(7),
    "segfault": lambda: ctypes.string_at(8),
    "abort": lambda: ctypes.CDLL(None).abort(),
    "close_fds": _close_everything,
    "rubbish": _fill_the_channel_with_rubbish,
}


@task(result_ttl=_TTL_S)
def hang(how: str, seconds: float = 600) -> None:
    """Hang in a way that a timeout has to end from outside."""
    note("start")
    _HANGS[how](seconds)


def _hold_the_gil(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))  # PyDLL: the lock is kept during the call


def _stop_oneself(_seconds: float) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _spin(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


def _wait_for_child(seconds: float) -> None:
    child = subprocess.Popen(["sleep", str(seconds)])
    note("child", child=child.pid)
    child.wait()


_HANGS = {
    "sleep": time.sleep,
    "gil": _hold_the_gil,
    "stopped": _stop_oneself,
    "spin": _spin,
    "child": _wait_for_child,
}


@task(result_ttl=_TTL_S, max_retries=1, backoff_s=0.05)
def hang_twice(how: str) -> None:
    """Hang, with one retry."""
    note("start")
    _HANGS[how](600)


@task(result_ttl=_TTL_S, max_retries=3, backoff_s=0.05)
def fail_until(attempt: int, gate: str = "") -> int:
    """Raise until this attempt; wait at a gate first."""
    note("start")
    if gate:
        wait_at(gate)
    if context().attempt < attempt:
        raise ConnectionError("the other side is not there yet")
    return attempt


@task(result_ttl=_TTL_S)
def soak(run_s: float, number: int) -> int:
    """Work for a while."""
    note("start")
    time.sleep(run_s)
    return number


@task(result_ttl=_TTL_S)
def exact(count: int, name: str = "x") -> str:
    """Take arguments of certain types."""
    note("start")
    return name * count


@task(result_ttl=_TTL_S)
def not_json() -> Any:
    """Return what JSON can't hold."""
    note("start")
    return {"lock": object()}


@task(result_ttl=_TTL_S)
def large(size_bytes: int) -> str:
    """Return a text of this size."""
    note("start")
    return "x" * size_bytes


@task(result_ttl=_TTL_S)
def refuse(reason: str) -> None:
    """Say that this job can never be done."""
    note("start")
    raise Reject(reason)
