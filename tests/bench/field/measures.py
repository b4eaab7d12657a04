"""The columns of the table: which scene yields a figure, its unit, which way is better, and what workd has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FASTEST = "the fastest peer"


@dataclass(frozen=True, slots=True)
class Goal:
    """What workd's figure has to be: a multiple of another system's, or a figure of its own (`against` is empty)."""

    limit: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """One column."""

    name: str
    title: str
    scene: str
    unit: str
    better: Literal["more", "less"]
    digits: int = 0
    goal: Goal | None = None


MEASURES = (
    Measure("drain_per_s", "drain", "drain", "jobs/s", "more", 0, Goal(6, FASTEST)),
    Measure("drain_results_per_s", "with results", "results", "jobs/s", "more", 0, Goal(8, FASTEST)),
    Measure("drain_aof_per_s", "with AOF", "aof", "jobs/s", "more"),
    Measure("worker_cpu_us", "worker CPU", "drain", "us/job", "less"),
    Measure("redis_cpu_us", "Redis CPU", "drain", "us/job", "less", 1),
    Measure("cpu_us", "both", "drain", "us/job", "less", 0, Goal(60)),
    Measure("redis_commands", "commands", "drain", "/job", "less", 3, Goal(0.1)),
    Measure("redis_reads", "round trips", "drain", "/job", "less", 3),
    Measure("enqueue_per_s", "enqueue", "enqueue", "jobs/s", "more", 0, Goal(1.3, "huey")),
    Measure("bulk_per_s", "in bulk", "enqueue", "jobs/s", "more", 0, Goal(12, FASTEST)),
    Measure("begin_p50_ms", "begin p50", "idle", "ms", "less", 2, Goal(0.7, FASTEST)),
    Measure("begin_p99_ms", "begin p99", "idle", "ms", "less", 2, Goal(1, FASTEST)),
    Measure("result_p50_ms", "result p50", "idle", "ms", "less", 2, Goal(1.2)),
    Measure("burn_x_ideal", "2 ms CPU", "burn", "x ideal", "less", 2, Goal(1.06)),
    Measure("start_s", "start", "idle", "s", "less", 2, Goal(0.8)),
    Measure("pss_mb", "PSS", "idle", "MB", "less", 0, Goal(75)),
)
BY_NAME = {measure.name: measure for measure in MEASURES}
