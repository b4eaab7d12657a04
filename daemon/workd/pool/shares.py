"""The books of a worker that runs several jobs at once: how many it may have, and when one of them is due a look.

A part of a `Tenant`, there only while its jobs are such as may share a worker. Written and read by the pool's loop.
Each operation costs the same with two jobs as with a thousand: what needs a look at all of them waits for the watch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workd.pool.balance import AHEAD_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workd.pool.slot import Job


class Shares:
    """What the jobs of one worker agree on."""

    __slots__ = ("_wishes", "due", "limit", "limited", "tail", "unsure_since")

    def __init__(self) -> None:
        """Have no jobs yet."""
        self._wishes: dict[int, int] = {}  # how many of the jobs allow so many at once
        self.limit = 0
        """How many jobs may run at once: what the least tolerant of them allows."""
        self.due = math.inf
        """Loop time before which no job can be over its timeout; may be too early, since jobs end."""
        self.limited = 0
        """How many of the jobs have a memory limit."""
        self.unsure_since = math.inf
        """Loop time of the first hand-over of which nobody knows whether the worker has claimed it."""
        self.tail: Job | None = None
        """A job that is to have the worker for itself: it waits unclaimed in its socket until all others have ended."""

    def has_room(self, job: Job, held: int) -> bool:
        """Say whether a worker that holds so many jobs may have this one beside them."""
        return self.tail is None and held < min(self.limit, job.concurrency)

    def places(self, held: int, budget: float) -> int:
        """Return how many more jobs may start at once in a worker that holds so many, and may have so many more."""
        return 0 if self.tail is not None else max(0, int(min(self.limit - held, budget)))

    def ahead(self, mean_s: float) -> int:
        """Return how many jobs of average cost to have at hand for it, so that not each end is a fetch of its own."""
        return 0 if self.tail is not None else min(self.limit, int(AHEAD_S / mean_s))

    def add(self, job: Job, now: float) -> None:
        """Take a job that is handed over."""
        wish = job.concurrency
        self._wishes[wish] = self._wishes.get(wish, 0) + 1
        self.limit = min(self._wishes)
        self.due = min(self.due, deadline(job))
        self.limited += job.memory_limit_bytes is not None
        self.unsure_since = min(self.unsure_since, now)

    def remove(self, job: Job) -> bool:
        """Strike a job off; say whether any is left that runs beside others."""
        if job is self.tail:
            self.tail = None
            return True
        wish = job.concurrency
        self._wishes[wish] -= 1
        if not self._wishes[wish]:
            del self._wishes[wish]
        self.limit = min(self._wishes, default=0)
        self.limited -= job.memory_limit_bytes is not None
        return bool(self._wishes)

    def plan(self, jobs: Iterable[Job]) -> None:
        """Find anew when the first of these jobs is due."""
        self.due = min(map(deadline, jobs), default=math.inf)


def deadline(job: Job) -> float:
    """Return the loop time at which the job's time is over."""
    return math.inf if job.timeout_s is None else job.since + job.timeout_s
