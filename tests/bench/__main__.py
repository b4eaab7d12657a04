"""`make bench`: what a no-op job costs, beside the standard library's pool, in one run on one machine.

Trust the ratios, not the rates: machines are shared and noisy. Every figure comes with every promise on, on a real
server, with the daemon as a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from workd.client.sync import Client
from workd.pool.local import Pool

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.servers import Server, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAM = "workd:{default}:stream"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    ratio: str = ""


@contextmanager
def daemon(url: str, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon on the sample tasks."""
    command = [sys.executable, "-m", "workd", "run", "workd_tasks.samples", "--redis-url", url]
    options = ["--workers", str(workers), "--http", "", "--log-level", "warning"]
    with subprocess.Popen([*command, *options]) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and all its descendants have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / TICKS
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_s(int(child)) for child in children)


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> float:
    """Return the time at which `condition` was first seen to hold."""
    deadline = time.perf_counter() + timeout_s
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError
        time.sleep(0.002)
    return time.perf_counter()


def enqueue_rates(url: str, jobs: int) -> tuple[float, float]:
    """Return messages a second, one by one and in bulk."""
    with Client(url) as client:
        few = jobs // 10
        start = time.perf_counter()
        for _ in range(few):
            client.enqueue("noop")
        one_by_one = few / (time.perf_counter() - start)
        start = time.perf_counter()
        client.enqueue_many("noop", itertools.repeat((), jobs))
        return one_by_one, jobs / (time.perf_counter() - start)


def drain(server: Server, jobs: int, workers: int, *, results: bool) -> tuple[float, float]:
    """Return jobs a second and our own CPU in us a job, measured between 5 % and 95 % of a full queue."""
    connection = server.client()
    connection.flushall()
    with Client(server.url).with_options(result_ttl=600 if results else 0) as client:
        client.enqueue_many("noop", itertools.repeat((), jobs))
    with daemon(server.url, workers) as process:
        start = until(lambda: connection.xlen(STREAM) < jobs * 0.95)
        left, cpu_before = connection.xlen(STREAM), cpu_s(process.pid)
        end = until(lambda: connection.xlen(STREAM) < jobs * 0.05)
        done, cpu = left - connection.xlen(STREAM), cpu_s(process.pid) - cpu_before
    return done / (end - start), cpu / done * 1e6


def latency_ms(server: Server, workers: int, rounds: int) -> tuple[float, float]:
    """Return median and 99th percentile from `enqueue` to the value in the caller's hand, on an idle daemon."""
    server.client().flushall()
    with daemon(server.url, workers), Client(server.url) as client:
        client.enqueue("noop").get(timeout=30)
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            client.enqueue("noop").get(timeout=30)
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def in_memory_rate(pool: Pool | multiprocessing.pool.Pool, jobs: int) -> float:
    """Return `apply_async` calls a second, one by one, to the last result."""
    start = time.perf_counter()
    results = [pool.apply_async(abs, (number,)) for number in range(jobs)]
    for result in results:
        result.get()
    return jobs / (time.perf_counter() - start)


def measure(jobs: int, workers: int, rounds: int) -> list[Row]:
    """Return the table."""
    with multiprocessing.Pool(workers) as pool:
        in_memory_rate(pool, jobs // 10)
        stdlib = in_memory_rate(pool, jobs)
    rows = [Row("multiprocessing.Pool.apply_async, in memory", f"{stdlib:,.0f} jobs/s", "1.0 x")]
    with Pool(workers) as own:
        in_memory_rate(own, jobs // 10)
        rate = in_memory_rate(own, jobs)
    rows.append(Row("workd.Pool.apply_async, in memory", f"{rate:,.0f} jobs/s", f"{rate / stdlib:.1f} x"))
    with Server(valkey_binary()) as server:
        one, bulk = enqueue_rates(server.url, jobs)
        rows.append(Row("enqueue, one by one", f"{one:,.0f} /s"))
        rows.append(Row("enqueue, in bulk", f"{bulk:,.0f} /s"))
        for results, text in ((False, "results off"), (True, "results stored")):
            rate, cpu_us = drain(server, jobs, workers, results=results)
            rows.append(Row(f"drain through Redis, {text}", f"{rate:,.0f} jobs/s", f"{rate / stdlib:.1f} x"))
            rows.append(Row("    CPU of supervisor and workers", f"{cpu_us:.0f} us a job"))
        median, worst = latency_ms(server, workers, rounds)
        rows.append(Row("enqueue to result, idle daemon, median", f"{median:.2f} ms"))
        rows.append(Row("enqueue to result, idle daemon, p99", f"{worst:.2f} ms"))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=500, help="round trips for the latency")
    options = parser.parse_args()
    version = redis.__version__
    print(f"Python {sys.version.split()[0]}, redis-py {version}, {os.cpu_count()} cores, {options.workers} workers\n")
    for row in measure(options.jobs, options.workers, options.rounds):
        print(f"{row.what:46} {row.figure:>18} {row.ratio:>8}")


if __name__ == "__main__":
    main()
