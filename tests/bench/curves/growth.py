"""How a no-op drain grows with workers, daemons, backlog and queues, and which part is busy where it stops growing.

Points take turns, each time with daemons of their own, so that a slow moment of the machine is not one point's alone.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.curves.figures import Figure
from bench.curves.stage import Drain, stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.curves.options import Options

JOBS = 60_000
WARM_UP_JOBS = 4_000
FULL = 0.90  # of its time: what is busier than that has no room left
SHORT = 20_000  # jobs: fewer are over so soon that each point is drained several times a round
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """One place on a curve."""

    at: float
    workers: int = 2
    daemons: int = 1
    jobs: int = JOBS
    queues: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its queues."""
        return tuple(f"q{number}" for number in range(self.queues)) if self.queues > 1 else ("default",)


def workers(options: Options) -> Iterator[Figure]:
    """1 to 16 workers of one daemon."""
    return _curve("workers", "workers", [Point(count, workers=count) for count in (1, 2, 4, 8, 16)], options)


def daemons(options: Options) -> Iterator[Figure]:
    """1 to 4 daemons of two workers each on one server."""
    return _curve("daemons", "daemons", [Point(count, daemons=count) for count in (1, 2, 3, 4)], options)


def backlog(options: Options) -> Iterator[Figure]:
    """1,000 to 1,000,000 queued."""
    counts = (1_000, 10_000, 100_000) if options.quick else (1_000, 10_000, 100_000, 1_000_000)
    return _curve("backlog", "queued", [Point(count, jobs=count) for count in counts], options, scaled=False)


def queues(options: Options) -> Iterator[Figure]:
    """1 to 100 queues of one daemon, all of them full."""
    return _curve("queues", "queues", [Point(count, queues=count) for count in (1, 10, 50, 100)], options)


def _curve(name: str, unit: str, points: Sequence[Point], options: Options, *, scaled: bool = True) -> Iterator[Figure]:
    found: dict[float, list[Drain]] = {point.at: [] for point in points}
    for _ in range(options.rounds):
        for point in points:
            found[point.at] += _drains(point, options.jobs(point.jobs) if scaled else point.jobs)
    for point in points:
        yield from _figures(name, unit, point, found[point.at])


def _drains(point: Point, jobs: int) -> list[Drain]:
    names = point.names
    with stage(workers=point.workers, daemons=point.daemons, queues=",".join(names)) as ours:
        ours.warm_up(max(WARM_UP_JOBS, 100 * len(names)), queues=names)
        repeats = REPEATS if jobs < SHORT else 1
        return [ours.drain(jobs, queues=names) for _ in range(repeats)]


def _figures(curve: str, unit: str, point: Point, drains: Sequence[Drain]) -> Iterator[Figure]:
    columns = {
        ("drain", "jobs/s"): [drain.rate for drain in drains],
        ("CPU of the supervisors", "us/job"): [drain.supervisor_cpu_us for drain in drains],
        ("CPU of the workers", "us/job"): [drain.worker_cpu_us for drain in drains],
        ("CPU of Redis", "us/job"): [drain.redis_cpu_us for drain in drains],
        ("calls to Redis", "per job"): [drain.calls_per_job for drain in drains],
        ("a supervisor is busy", "of 1"): [drain.supervisor_cpu_s / drain.took_s / point.daemons for drain in drains],
        ("a worker is busy", "of 1"): [
            drain.worker_cpu_s / drain.took_s / point.daemons / point.workers for drain in drains
        ],
        ("Redis is busy", "of 1"): [drain.redis_cpu_s / drain.took_s for drain in drains],
        ("idle share of the machine", "of 1"): [drain.idle_share for drain in drains],
    }
    busy = _busy({what: statistics.median(values) for (what, _), values in columns.items()})
    for (what, of), values in columns.items():
        note = busy if what == "drain" else ""
        yield Figure(curve, what, of, tuple(values), at=point.at, at_unit=unit, note=note)


def _busy(medians: dict[str, float]) -> str:
    """Say what has no room left; if nothing has, what is busiest."""
    names = {"a supervisor is busy": "the supervisor", "a worker is busy": "the workers", "Redis is busy": "Redis"}
    shares = {name: medians[what] for what, name in names.items()}
    if medians["idle share of the machine"] <= 1 - FULL:
        return f"all cores are busy ({_listed(shares)})"
    full = {name: share for name, share in shares.items() if share >= FULL}
    return f"{' and '.join(full)} at the limit of one core ({_listed(shares)})" if full else _listed(shares)


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
