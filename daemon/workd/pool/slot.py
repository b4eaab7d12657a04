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

from workd import faultpoints
from workd.pool.balance import HEAD_PATIENCE_S, MAX_DEPTH, WINDOW_S

if TYPE_CHECKING:
    from workd.pool.channel import Channel, WorkerFailed
    from workd.pool.deaths import KillOrder
    from workd.pool.launcher import Forkserver
    from workd.pool.shares import Shares


MAX_SHUN_S = 1.0  # how long at most a worker that left a job unclaimed is offered none


@dataclass(slots=True, eq=False)
class Job:
    """One job on its way through the pool. `ref` is the owner's, the pool never looks at it."""

    key: int  # unique in this pool
    body: bytes
    task: str  # what run times are averaged over
    timeout_s: float | None
    ref: Any = None
    alone: bool = False  # it may be a killer: nothing waits behind it
    soft_timeout_s: float | None = None  # after it, `SoftTimeout` is raised in the task
    memory_limit_bytes: int | None = None  # resident memory of its worker over which it is killed
    queued_at: float = 0.0  # loop time of the submit
    patient: bool = False  # nobody waits for its end now
    cost_s: float = 0.0  # what its slot's load was charged
    worker_pid: int = 0  # of the worker that has, or had, it
    rest: bytes = b""  # what follows the body; apart from it where to join them would copy much
    concurrency: int = 0  # 0: a plain function; else a coroutine function, of which a worker may run so many at once
    since: float = 0.0  # loop time of the hand-over; only of jobs that may share a worker


class TenantState(Enum):
    """Where a worker is in its life."""

    BOOTING = auto()
    READY = auto()
    RETIRING = auto()  # takes no more jobs; finishes what it claimed while its successor waits
    LEAVING = auto()  # told to leave


@dataclass(slots=True, eq=False)
class Tenant:
    """The process in a slot and everything it was given."""

    slot: Slot
    pid: int
    pidfd: int
    channel: Channel
    forkserver: Forkserver
    boot_deadline: float
    state: TenantState = TenantState.BOOTING
    jobs: dict[int, Job] = field(default_factory=dict)  # in the order of hand-over, so the first is the running one
    load_s: float = 0.0
    budget: float = math.inf  # how many jobs more it may be given in its life
    done: int = 0  # jobs that it has finished
    ready_since: float = 0.0  # loop time
    head_since: float = 0.0  # loop time since which the first job can have been running
    heard: bool = False  # its results are read
    impatient: int = 0  # how many of its jobs somebody waits for
    exclusive: bool = False  # the job that it has is to be alone with it
    shares: Shares | None = None  # set while its jobs are such as run side by side: then all of them are heads
    socket_full: bool = False
    claimed_key: int = 0  # the last job that is known to have been claimed; only long ones are asked after
    strikes: int = 0  # how many times in a row it left a job unclaimed for too long: it is stopped, or has no CPU
    struck_since: float = 0.0  # loop time of the first of them
    shunned_until: float = 0.0  # loop time until which it gets no jobs for that
    kill_order: KillOrder | None = None
    shot: bool = False  # we sent it SIGKILL
    gone: bool = False  # it is dead, and that is being dealt with
    soft_key: int = 0  # the last job that was told that its time is up
    baseline_bytes: int = 0  # resident memory when it was ready; 0 where nobody asks
    reports_seen: int = 0  # how many reports of progress it had written when somebody looked last
    weighed_done: int = 0  # `done` when its memory was last looked at
    large_looks: int = 0  # how many times in a row it was found too large
    leave_deadline: float = math.inf
    boot_failure: WorkerFailed | None = None
    note: str = ""

    @property
    def head(self) -> Job | None:
        """The job that is running, if any: workers claim in order. With `shares` all of its jobs may be."""
        return next(iter(self.jobs.values()), None)

    @property
    def is_of_use(self) -> bool:
        """Whether it takes jobs, or has one: one at the end of its budget does not and waits for its successor."""
        return bool(self.jobs) or (self.state is TenantState.READY and self.budget > 0)

    def is_free(self, now: float) -> bool:
        """Say whether it has nothing to do and takes jobs."""
        return not self.jobs and self.is_of_use and self.kill_order is None and now >= self.shunned_until

    def has_room(self, job: Job, now: float) -> bool:
        """Say whether `job` may be handed over now."""
        if self.state is not TenantState.READY or self.kill_order is not None or self.socket_full:
            return False
        if now < self.shunned_until:
            return False
        if not self.jobs:
            return self.budget > 0
        if self.shares is not None:
            return self.shares.has_room(job, len(self.jobs)) and self.budget > 0
        if job.concurrency > 1:
            return False  # what runs here runs alone
        if job.alone or self.load_s >= WINDOW_S or len(self.jobs) >= MAX_DEPTH or self.budget <= 0:
            return False
        if now - self.head_since > HEAD_PATIENCE_S:
            return False  # what it runs takes longer than such tasks mostly do: nobody knows how long
        return not self.exclusive

    def has_room_for_tail(self, now: float) -> bool:
        """Say whether a job that is to run alone may wait here until all that run side by side have ended."""
        fit = self.state is TenantState.READY and self.kill_order is None and not self.socket_full
        is_open = self.shares is not None and self.shares.tail is None
        return fit and is_open and self.budget > 0 and now >= self.shunned_until

    def hand_over(self, job: Job, now: float) -> bool:
        """Give the worker a job; False if its socket is full."""
        faultpoints.hit("supervisor_before_handover")
        if not self.channel.send(job):
            self.socket_full = True
            return False
        if not self.jobs:
            self.head_since = now
            self.exclusive = job.alone
        self.jobs[job.key] = job
        if job.concurrency > 1:
            self._share(job, now)
        elif self.shares is not None:
            self.shares.tail = job
        faultpoints.hit("supervisor_after_handover")
        job.worker_pid = self.pid
        self.load_s += job.cost_s
        self.impatient += not job.patient
        self.budget -= 1
        return True

    def finish(self, job: Job) -> None:
        """Take a job off the books by its result."""
        del self.jobs[job.key]
        self.load_s = self.load_s - job.cost_s if self.jobs else 0.0
        if self.shares is not None:
            self._unshare(job)
        self.impatient -= not job.patient
        self.socket_full = False
        self.done += 1
        self.strikes = 0

    def take_back(self) -> list[Job]:
        """Take everything that the worker has not claimed, in order."""
        back = [self.jobs.pop(key) for key in self.channel.take_back() if key in self.jobs]
        for job in back:
            self.load_s -= job.cost_s
            self.impatient -= not job.patient
            if self.shares is not None:
                self._unshare(job)
        self.budget += len(back)
        self.socket_full = False
        return back

    def _share(self, job: Job, now: float) -> None:
        from workd.pool.shares import Shares  # nobody else pays for it

        job.since = now
        if self.shares is None:
            self.shares = Shares()
        self.shares.add(job, now)

    def _unshare(self, job: Job) -> None:
        if self.shares is not None and not self.shares.remove(job):
            self.exclusive = self.shares.tail is not None and self.shares.tail.alone
            self.shares = None

    def strike(self, now: float) -> float:
        """Give it no job for a while, longer each time; return for how long it has claimed none of what it got."""
        if now - self.shunned_until > MAX_SHUN_S:  # it was offered nothing since: that time says nothing
            self.strikes = 0
        if not self.strikes:
            self.struck_since = now
        self.strikes += 1
        self.shunned_until = now + min(MAX_SHUN_S, HEAD_PATIENCE_S * 2.0**self.strikes)
        return now - self.struck_since

    def hang_up(self, deadline: float) -> None:
        """Tell the worker to leave after what it claimed; the watch kills it if it has not left by `deadline`."""
        self.state = TenantState.LEAVING
        self.leave_deadline = deadline
        self.channel.hang_up()

    def is_dead(self) -> bool:
        """Ask the kernel, not the books."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def kill(self) -> None:
        """Kill the worker and its process group. It stays unreaped, so neither pid nor group can be reused yet."""
        self.shot = True
        self.kill_group()  # first, while the number is certainly its own
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send the worker itself a signal; nothing happens if it is dead."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

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
    successor: Tenant | None = None  # boots, or waits for the tenant to finish its job
    renewing: str = ""  # why a successor is wanted; empty: none is
    closing: bool = False  # the pool gets smaller: no worker is to come here any more
    making: bool = False  # a worker is being made for it, or waits for its next try
    boots: int = 0  # how many workers were here
    false_starts: int = 0  # how many in a row died by themselves, idle, soon after they were ready

    @property
    def ready(self) -> bool:
        """Whether a worker is here that can take jobs, now or as soon as the one that it succeeds has finished."""
        return any(heir is not None and heir.state is TenantState.READY for heir in (self.tenant, self.successor))
