"""Deaths of workers as data, and what they mean for the job that was running.

Made by `core.py` from what the kernel says (pidfd, wait4); decided on by whoever owns the jobs.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass


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

    def describe(self) -> str:
        """Return a clause that can follow 'the worker'."""
        if not self.status_known:
            how = "ended; its exit status is unknown, since its forkserver had died"
        elif self.signal is not None:
            how = f"was killed by {self.signal}"
        else:
            how = f"exited with code {self.exit_code}"
        peak = "" if self.peak_rss_bytes is None else f", peak memory {self.peak_rss_bytes / 2**20:.0f} MiB"
        note = f" ({self.note})" if self.note else ""
        ran = "" if self.ran_s is None else f" after {self.ran_s:.1f} s in this job"
        return f"with pid {self.pid} {how}{note}{ran}{peak}"


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
class Killed:
    """The supervisor killed the worker for a reason that is not the job's fault: a drain, a cancel, a lost lease."""

    why: str
    died: WorkerDied


Lost = Crashed | TimedOut | Killed


@dataclass(frozen=True, slots=True)
class KillOrder:
    """Why the supervisor killed a worker, and which job it meant."""

    key: int | None  # None: whatever it runs
    timeout_s: float | None  # set when the job's time was over
    why: str


def cause(order: KillOrder | None, key: int, died: WorkerDied) -> Lost:
    """Say why the job `key` was lost: by its own crash, or because the supervisor killed its worker."""
    if order is None:
        return Crashed(died)
    if order.timeout_s is not None and order.key == key:
        return TimedOut(order.timeout_s, died)
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
