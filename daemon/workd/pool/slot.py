"""A place in the pool, and the worker that is in it now.

Written and read by the one loop that runs `core.py`; nobody else touches it. A `Slot` stays for the pool's life, a
`Tenant` lives from one fork to the worker's death.
"""

from __future__ import annotations

import math
import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from workd.pool import balance

if TYPE_CHECKING:
    from workd.pool.channel import Channel
    from workd.pool.deaths import KillOrder
    from workd.pool.launcher import Forkserver


@dataclass(slots=True)
class Job:
    """One job on its way through the pool. `ref` is the owner's, the pool never looks at it."""

    key: int  # unique in this pool
    body: bytes
    task: str  # what run times are averaged over
    timeout_s: float | None
    ref: Any = None
    alone: bool = False  # it may be a killer: nothing waits behind it
    queued_at: float = 0.0  # loop time of the submit
    cost_s: float = 0.0  # what its slot's load was charged
    worker_pid: int = 0  # of the worker that has, or had, it


class TenantState(Enum):
    """Where a worker is in its life."""

    BOOTING = auto()
    READY = auto()
    LEAVING = auto()  # told to leave; still finishes what it claimed


@dataclass(slots=True)
class Tenant:
    """The process in a slot and everything it was given."""

    pid: int
    pidfd: int
    channel: Channel
    forkserver: Forkserver
    boot_deadline: float
    state: TenantState = TenantState.BOOTING
    jobs: dict[int, Job] = field(default_factory=dict)  # in the order of hand-over, so the first is the running one
    load_s: float = 0.0
    ready_since: float = 0.0  # loop time
    head_since: float = 0.0  # loop time since which the first job can have been running
    socket_full: bool = False
    kill_order: KillOrder | None = None
    boot_report: str = ""  # the traceback of a worker that could not start
    note: str = ""

    @property
    def head(self) -> Job | None:
        """The job that is running, if any: workers claim in order."""
        return next(iter(self.jobs.values()), None)

    def has_room(self, job: Job, now: float) -> bool:
        """Say whether `job` may be handed over now."""
        if self.state is not TenantState.READY or self.kill_order is not None or self.socket_full:
            return False
        if not self.jobs:
            return True
        if job.alone or self.load_s >= balance.WINDOW_S or len(self.jobs) >= balance.MAX_DEPTH:
            return False
        if now - self.head_since > balance.HEAD_PATIENCE_S:
            return False  # what it runs takes longer than such tasks mostly do: nobody knows how long
        head = self.head
        return head is None or not head.alone

    def hand_over(self, job: Job, now: float) -> bool:
        """Give the worker a job; False if its socket is full."""
        if not self.channel.send(job.key, job.body):
            self.socket_full = True
            return False
        if not self.jobs:
            self.head_since = now
        self.jobs[job.key] = job
        job.worker_pid = self.pid
        self.load_s += job.cost_s
        return True

    def finish(self, key: int) -> Job | None:
        """Take a job off the books by its result; None if it was never here."""
        job = self.jobs.pop(key, None)
        if job is not None:
            self.load_s = self.load_s - job.cost_s if self.jobs else 0.0
            self.socket_full = False
        return job

    def take_back(self) -> list[Job]:
        """Take everything that the worker has not claimed, in order."""
        back = [self.jobs.pop(key) for key in self.channel.take_back() if key in self.jobs]
        for job in back:
            self.load_s -= job.cost_s
        self.socket_full = False
        return back

    def next_look(self, now: float, patience_s: float, idle_tick_s: float) -> float:
        """Return when its timers want to be looked at next; infinity if it has none."""
        if self.state is TenantState.BOOTING:
            return now + idle_tick_s
        if not self.jobs:
            return math.inf
        if len(self.jobs) > 1:
            return now + patience_s
        head = self.head
        if head is None or head.timeout_s is None:
            return now + idle_tick_s
        return max(now + patience_s / 10, min(now + idle_tick_s, self.head_since + head.timeout_s))

    def is_dead(self) -> bool:
        """Ask the kernel, not the books."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def kill(self) -> None:
        """Kill the worker and its process group. It stays unreaped, so neither pid nor group can be reused yet."""
        self.kill_group()  # first, while the number is certainly its own
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill what the worker's tasks left in its group. Those who left the session are the cgroup's business."""
        if not self.forkserver.alive and self.is_dead():
            return  # somebody else reaps now: the number may be a stranger's by the time we use it
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close all descriptors, after the death has been dealt with."""
        self.channel.close()
        os.close(self.pidfd)


@dataclass(slots=True)
class Slot:
    """A place for one worker."""

    index: int
    tenant: Tenant | None = None
    boots: int = 0  # how many workers were here
    false_starts: int = 0  # how many in a row died by themselves, idle, soon after they were ready

    @property
    def ready(self) -> bool:
        """Whether a worker is here that can take jobs."""
        return self.tenant is not None and self.tenant.state is TenantState.READY
