"""How many jobs a slot may hold: deep for microseconds, one for anything slow or unknown.

A worker that has its next job in its socket does not wait for the supervisor between two jobs; a job in a socket
can't be taken by another slot without being taken back. So a slot is given work for about `WINDOW_S`, by the measured
run time of each task. Used by `core.py` alone; pure bookkeeping.
"""

from __future__ import annotations

from typing import Final, NamedTuple

WINDOW_S: Final = 0.025
HEAD_PATIENCE_S: Final = 0.010  # a job may wait this long behind another while a slot is free
RUN_S: Final = 0.0005  # so much more work than the next a worker may get before the next one's turn comes
MAX_DEPTH: Final = 256  # packets that a socket with the kernel's default limits holds
UNKNOWN_COST_S: Final = 1.0
AHEAD_S: Final = 0.050  # so much work for each slot the supervisor has at hand, so that one read brings several jobs
MAX_AHEAD: Final = 4
_WEIGHT: Final = 0.2  # of the newest run in the moving average
_MAX_TASKS: Final = 10_000  # names that the estimate remembers; beyond it, it starts anew


class Capacity(NamedTuple):
    """How many more jobs of average cost the pool could use."""

    free: int
    """To start on, to buffer in workers and to have at hand, now."""
    whole: int
    """The same if it had none."""
    idle: int
    """Workers that have nothing to do, or room for one more at once, and for which nothing waits."""


class Costs:
    """The moving average of run times, per task and over all."""

    __slots__ = ("_by_task", "mean_s")

    def __init__(self) -> None:
        """Know nothing yet: everything counts as slow."""
        self._by_task: dict[str, float] = {}
        self.mean_s = UNKNOWN_COST_S

    def of(self, task: str) -> float:
        """Return the expected run time of a task in seconds."""
        return self._by_task.get(task, UNKNOWN_COST_S)

    def learn(self, task: str, run_s: float) -> None:
        """Take one measured run into account."""
        run_s = max(run_s, 1e-6)
        known = self._by_task.get(task)
        if known is None:
            if len(self._by_task) >= _MAX_TASKS:
                self._by_task.clear()
            self._by_task[task] = run_s
        else:
            self._by_task[task] = known + _WEIGHT * (run_s - known)
        mean = self.mean_s
        self.mean_s = run_s if mean == UNKNOWN_COST_S else mean + _WEIGHT * (run_s - mean)


def room(held: int, load_s: float, mean_s: float) -> int:
    """Return how many more jobs of average cost fit a slot that holds `held` jobs worth `load_s` seconds."""
    if load_s >= WINDOW_S or held >= MAX_DEPTH:
        return 0 if held else 1
    return min(MAX_DEPTH - held, 1 + int((WINDOW_S - load_s) / mean_s))


def ahead(mean_s: float) -> int:
    """Return how many jobs of average cost to have at hand for each slot, beyond what it holds."""
    return min(MAX_AHEAD, int(AHEAD_S / mean_s))
