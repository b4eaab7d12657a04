"""CPU-bound jobs against the ideal, and the introduction's example: four sleeps of 2 s on four workers.

The ideal is the jobs' CPU time divided by the workers. Beside it stands a control: as many plain processes that burn
the same and know nothing of workd, in turns with it, which shows what the machine gives at that moment.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from bench.curves import tasks
from bench.curves.figures import Figure, Goal
from bench.curves.ledger import Ledger, Ledgers
from bench.curves.stage import Drain, Stage, stage, temporary_folder
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.curves.options import Options

WORKERS = 2
GOALS = {0.002: 1.06, 0.020: 1.02, 0.200: 1.005}
TOTAL_CPU_S = 4.0
WORKER_NICE = 5  # as workd's own workers
SLEEP_S = 2.0
SLEEPERS = 4


def figures(options: Options) -> Iterator[Figure]:
    """Measure the x ideal of each size of job, then the sleeps."""
    with stage(workers=WORKERS) as ours:
        for cpu_s, goal in GOALS.items():
            jobs = options.jobs(round(TOTAL_CPU_S / cpu_s / WORKERS)) * WORKERS
            ours.warm_up(20, b'{"task":"burn","args":[%f]}' % cpu_s)
            found = [(*_ours(ours, cpu_s, jobs), _plain(cpu_s, jobs)) for _ in range(options.rounds)]
            figure = partial(Figure, "cpu", at=cpu_s * 1000, at_unit="ms of CPU")
            ratios = tuple(ratio for _, ratio, _ in found)
            yield figure("x ideal", "x", ratios, goal=Goal(at_most=goal))
            controls = tuple(control for _, _, control in found)
            yield figure("x ideal of plain processes (control)", "x", controls)
            quotients = tuple(own / plain for own, plain in zip(ratios, controls, strict=True))
            yield figure("workd : plain processes", "x", quotients)
            drains = [drain for drain, _, _ in found]
            yield figure("CPU of the supervisor", "us/job", tuple(d.supervisor_cpu_us for d in drains))
            overheads = tuple(d.worker_cpu_us - cpu_s * 1e6 for d in drains)
            yield figure("CPU of a worker beyond the task's", "us/job", overheads)
            yield figure("CPU of Redis", "us/job", tuple(d.redis_cpu_us for d in drains))
            yield figure("calls to Redis", "per job", tuple(d.calls_per_job for d in drains))
    yield from _sleeps(options)


def _ours(ours: Stage, cpu_s: float, jobs: int) -> tuple[Drain, float]:
    drain = ours.drain(jobs, b'{"task":"burn","args":[%f]}' % cpu_s)
    return drain, _times_ideal(ours.ledgers)


def _plain(cpu_s: float, jobs: int) -> float:
    """Burn the same in plain processes."""
    context = multiprocessing.get_context("fork")
    with temporary_folder() as folder:
        burners = [context.Process(target=_burn, args=(folder, cpu_s, jobs // WORKERS)) for _ in range(WORKERS)]
        for burner in burners:
            burner.start()
        for burner in burners:
            burner.join()
        return _times_ideal(Ledgers(folder))


def _burn(folder: Path, cpu_s: float, jobs: int) -> None:
    os.nice(WORKER_NICE)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    ledger = Ledger(folder)
    for _ in range(jobs):
        start_ns = time.monotonic_ns()
        ledger.note(start_ns, int(tasks.spin(cpu_s) * 1e9))


def _times_ideal(ledgers: Ledgers) -> float:
    tally = ledgers.read()
    return tally.took_s / (tally.cpu_s / WORKERS)


def _sleeps(options: Options) -> Iterator[Figure]:
    """From the first enqueue to the last result in the caller's hand."""
    with stage(workers=SLEEPERS) as ours, Client(ours.server.url) as client:
        client.enqueue("nap", 0.0).get(timeout=30)
        times_s = tuple(_one_sleep(client) for _ in range(options.rounds))
    yield Figure("sleep", "4 x sleep 2 s on 4 workers, last result", "s", times_s, goal=Goal(at_most=2.02))


def _one_sleep(client: Client) -> float:
    start = time.perf_counter()
    handles = client.enqueue_many("nap", [(SLEEP_S,)] * SLEEPERS)
    for handle in handles:
        handle.get(timeout=30)
    return time.perf_counter() - start
