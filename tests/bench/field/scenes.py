"""What is measured, as scenes: each has a server and workers of its own and yields one or several figures by name."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes
from bench.field.catalogue import WORKERS
from bench.field.run import RunError, running
from bench.field.surroundings import Results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.field.catalogue import System

Figures = dict[str, float]

WARM, NEARLY = 0.05, 0.95  # the part of a full queue in which is measured
DRAIN_S = 90.0
START_S = 30.0
BURN_US = 2_000
BULK_JOBS = 2_000  # in one call


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured, in parts of what `catalogue` says of a system."""

    part: float = 1.0

    def jobs(self, system: System) -> int:
        """How many jobs are drained."""
        return max(100, int(system.jobs * self.part))

    def samples(self, system: System) -> int:
        """How many jobs are timed one by one, on their way to a worker and back."""
        return max(20, int(system.samples * self.part))

    def cpu_jobs(self, system: System) -> int:
        """How many jobs use the CPU."""
        return max(40, int(system.cpu_jobs * self.part))


def drain(system: System, programs: Path, size: Size) -> Figures:
    """Measure a full queue of jobs whose results nobody keeps."""
    return _drain(system, programs, size, Results.OFF)


def drain_with_results(system: System, programs: Path, size: Size) -> Figures:
    """Measure a full queue of jobs whose results are kept."""
    return {"drain_results_per_s": _drain(system, programs, size, Results.KEPT)["drain_per_s"]}


def drain_with_aof(system: System, programs: Path, size: Size) -> Figures:
    """Measure a full queue on a server that writes its log to disk every second."""
    return {"drain_aof_per_s": _drain(system, programs, size, Results.OFF, appendonly=True)["drain_per_s"]}


def _drain(system: System, programs: Path, size: Size, results: Results, *, appendonly: bool = False) -> Figures:
    count = size.jobs(system)
    with running(system, programs, results, appendonly=appendonly) as run:
        run.produce("fill", "noop", str(count))
        run.start_workers()
        run.wait_jobs(int(count * WARM), START_S)
        before = run.snapshot()
        run.wait_jobs(int(count * NEARLY), DRAIN_S)
        after = run.snapshot()
        run.wait_jobs(count, DRAIN_S)
        if (done := run.totals.jobs) != count:
            raise RunError(f"{done} jobs were run of {count} that were queued")
    jobs = after.jobs - before.jobs
    worker_us, redis_us = (
        used_s / jobs * 1e6
        for used_s in (after.worker_cpu_s - before.worker_cpu_s, after.redis_cpu_s - before.redis_cpu_s)
    )
    return {
        "drain_per_s": jobs / (after.at_s - before.at_s),
        "worker_cpu_us": worker_us,
        "redis_cpu_us": redis_us,
        "cpu_us": worker_us + redis_us,
        "redis_commands": (after.redis_calls - before.redis_calls) / jobs,
        "redis_reads": (after.redis_reads - before.redis_reads) / jobs,
    }


def idle(system: System, programs: Path, size: Size) -> Figures:
    """Measure the start, then how soon idle workers begin a job and answer, then their memory."""
    with running(system, programs, Results.AWAITED) as run:
        run.produce("fill", "noop", "1")
        run.start_workers()
        run.wait_jobs(1, START_S)
        start_s = (run.totals.last_ns - run.started_ns) / 1e9
        taken = run.produce("latency", str(size.samples(system)))
        pss_bytes = sum(map(processes.pss_bytes, processes.tree(run.pids)))
    cuts = statistics.quantiles(taken["start_ms"], n=100)
    return {
        "start_s": start_s,
        "begin_p50_ms": statistics.median(taken["start_ms"]),
        "begin_p99_ms": cuts[98],
        "result_p50_ms": statistics.median(taken["result_ms"]),
        "pss_mb": pss_bytes / 1e6,
    }


def enqueue(system: System, programs: Path, _: Size) -> Figures:
    """Measure the producer, while nobody works."""
    with running(system, programs, Results.OFF) as run:
        rates = run.produce("rates", str(BULK_JOBS))
    found = {"enqueue_per_s": rates["one_by_one_per_s"]}
    return found | {"bulk_per_s": rates["in_bulk_per_s"]} if system.bulk else found


def burn(system: System, programs: Path, size: Size) -> Figures:
    """Measure a full queue of jobs that use the CPU, from when all workers are up to the end of the last job."""
    count = size.cpu_jobs(system)
    with running(system, programs, Results.OFF) as run:
        run.produce("fill", "burn", str(count), str(BURN_US))
        run.start_workers(cpu=True)
        run.wait_jobs(int(count * WARM), START_S)
        start_ns, left = time.monotonic_ns(), count - run.totals.jobs
        run.wait_jobs(count, DRAIN_S)
        took_s = (run.totals.last_ns - start_ns) / 1e9
    return {"burn_x_ideal": took_s / (left * BURN_US / 1e6 / WORKERS)}


SCENES: dict[str, Callable[[System, Path, Size], Figures]] = {
    "drain": drain,
    "results": drain_with_results,
    "aof": drain_with_aof,
    "enqueue": enqueue,
    "idle": idle,
    "burn": burn,
}
