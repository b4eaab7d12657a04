"""How many workers the load asks for. Pure: what is seen goes in, a number and its reason come out.

It grows when every worker is busy and jobs wait all the same, in steps of half of what there is: so a backlog is met
within seconds. It shrinks when some workers had nothing to do for a while, to what was busy at once in that time. Since
that while is long and begins anew with each change, the number does not swing. Memory that is short stops the growth;
cores that are busy stop it at one worker a core, since more would only help tasks that wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from workd.pressure import Pressure
    from workd.sizes import Bounds

WAIT_S: Final = 0.5  # a job that waits no longer is no sign that workers are missing
QUIET_S: Final = 30.0  # so long, workers have nothing to do before there are fewer
MEMORY_STALL: Final = 0.10  # share of the time in which something waits for memory
CPU_STALL: Final = 0.20  # … or for a core
RESERVE: Final = 0.10  # share of the memory that is left to others
WORKER_BYTES: Final = 32 * 1024 * 1024  # what a worker is taken to need at least


class Look(NamedTuple):
    """What is seen at a moment."""

    workers: int
    ready: int
    busy: int
    waiting: int  # jobs that no worker has, here and in the queues that are open
    oldest_s: float  # how long the first of them has waited
    peak: int  # most workers that were busy at once in the last QUIET_S
    settled_s: float  # how long it has been since the number changed
    cores: int
    worker_bytes: int = 0  # what the largest worker has


class Decision(NamedTuple):
    """How many workers to have from now on, and why not more, where more are wanted."""

    workers: int
    short_of: str = ""


def decide(look: Look, bounds: Bounds, pressure: Pressure) -> Decision:
    """Return the number of workers that fits what is seen."""
    inside = min(bounds.most, max(bounds.least, look.workers))
    if inside != look.workers:
        return Decision(inside)
    if _is_hungry(look):
        return _grow(look, bounds, pressure)
    if look.settled_s >= QUIET_S and look.peak < look.workers and look.ready == look.workers:
        return Decision(max(bounds.least, look.peak, look.workers // 2))
    return Decision(look.workers)


def _is_hungry(look: Look) -> bool:
    """Say whether jobs wait though nobody is idle. Workers that are still booting will take some."""
    if not look.waiting or look.ready < look.workers:
        return False
    return look.workers == 0 or (look.busy >= look.workers and look.oldest_s >= WAIT_S)


def _grow(look: Look, bounds: Bounds, pressure: Pressure) -> Decision:
    wanted = min(bounds.most, look.workers + min(look.waiting, max(1, look.workers // 2)))
    allowed, short_of = wanted, ""
    if allowed > look.cores and pressure.cpu_stall >= CPU_STALL:
        allowed, short_of = max(look.workers, look.cores), "cores"
    if (fitting := look.workers + _fitting(look, pressure)) < allowed:
        allowed, short_of = fitting, "memory"
    return Decision(max(1, allowed), short_of)  # without any worker nothing would ever end


def _fitting(look: Look, pressure: Pressure) -> int:
    """Return for how many more workers there is memory."""
    if pressure.memory_stall >= MEMORY_STALL:
        return 0
    if pressure.free_bytes is None:
        return look.waiting
    spare_bytes = pressure.free_bytes - int(RESERVE * pressure.total_bytes)
    return max(0, spare_bytes // max(WORKER_BYTES, look.worker_bytes))
