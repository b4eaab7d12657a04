"""Deaths of workers as data, and what they mean for the job that was running.

Made by `core.py` from what the kernel says (pidfd, wait4, the cgroup's counter); decided on by whoever owns the jobs.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Final

from workd.pool.exits import EXIT_CHANNEL_BROKEN

_IN_C: Final = frozenset({"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"})


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """How a worker ended. `status_known` is False where its forkserver had died too and nobody could ask the kernel."""

    pid: int
    slot: int
    status_known: bool
    exit_code: int | None
    signal: str | None
    peak_rss_bytes: int | None
    ran_s: float | None  # how long the job that it was running had been its own; None if it was idle
    note: str = ""  # what the pool saw beside the exit status
    oom: bool | None = False  # whether the kernel's OOM killer did it; None: nobody can know
    stacks: str = ""  # its Python stacks at the end, where they came

    def describe(self) -> str:
        """Return a clause that can follow 'the worker'."""
        if not self.status_known:
            how = "ended; its exit status is unknown, since its forkserver could not be asked"
        elif self.signal is not None:
            how = f"was killed by {self.signal}"
        else:
            how = f"exited with code {self.exit_code}"
        killer = " (the kernel's OOM killer)" if self.oom else ""
        peak = "" if self.peak_rss_bytes is None else f", peak memory {self.peak_rss_bytes / 2**20:.0f} MiB"
        note = f" ({self.note})" if self.note else ""
        ran = "" if self.ran_s is None else f" after {self.ran_s:.1f} s in this job"
        return f"with pid {self.pid} in slot {self.slot} {how}{killer}{note}{ran}{peak}"

    def advice(self) -> str:
        """Return what to do about it, as a clause."""
        if not self.status_known:
            return "look into the log for what became of the forkserver"
        if self.oom:
            return "the machine or its cgroup ran out of memory: run fewer workers, or give such jobs a memory limit"
        if self.signal in _IN_C:
            return "look for a crash in C code: an extension module, ctypes, a library that calls abort()"
        if self.signal == "SIGKILL" and self.oom is None:
            return "whether the OOM killer did it is unknown here: journalctl -k tells, and who else sends SIGKILL"
        if self.signal is not None:
            return f"look who sends {self.signal}; it was not the OOM killer of this cgroup, nor workd"
        if self.exit_code == EXIT_CHANNEL_BROKEN:
            return "its channel broke: did the task close descriptors that are not its own, or is ulimit -n too low?"
        return "look for an os._exit in the task or in a library: let it return or raise instead"


@dataclass(frozen=True, slots=True)
class Crashed:
    """The worker died by itself, or somebody killed it, while it ran the job."""

    died: WorkerDied


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The supervisor killed the worker, since the job ran longer than it may."""

    timeout_s: float
    died: WorkerDied


@dataclass(frozen=True, slots=True)
class OverMemory:
    """The supervisor killed the worker, since the job used more memory than it may."""

    limit_bytes: int
    rss_bytes: int
    died: WorkerDied


@dataclass(frozen=True, slots=True)
class Killed:
    """The supervisor killed the worker for a reason that is not the job's fault: a drain, a cancel, a lost lease."""

    why: str
    died: WorkerDied


@dataclass(frozen=True, slots=True)
class Suspected:
    """The worker died while it ran this job and others: nobody knows whose doing it was."""

    others: int
    died: WorkerDied


Lost = Crashed | TimedOut | OverMemory | Killed | Suspected


@dataclass(frozen=True, slots=True)
class KillOrder:
    """Why the supervisor killed a worker, and which job it meant."""

    key: int | None  # None: whatever it runs
    timeout_s: float | None  # set when the job's time was over
    why: str
    memory_bytes: tuple[int, int] | None = None  # set when the job's memory was: the limit, and what it used


def cause(order: KillOrder | None, key: int, died: WorkerDied) -> Lost:
    """Say why the job `key` was lost: by its own crash, or because the supervisor killed its worker."""
    if order is None:
        return Crashed(died)
    if order.key == key and order.timeout_s is not None:
        return TimedOut(order.timeout_s, died)
    if order.key == key and order.memory_bytes is not None:
        return OverMemory(*order.memory_bytes, died)
    # Killed for another job that ended at the last moment, or for no job at all: not this one's fault.
    return Killed(order.why, died)


def read_status(status: int | None) -> tuple[int | None, str | None]:
    """Return exit code and signal's name of a wait status; both None if there is none."""
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return None, signal.Signals(number).name
        except ValueError:
            return None, f"signal {number}"  # a real-time signal
    return os.waitstatus_to_exitcode(status), None
