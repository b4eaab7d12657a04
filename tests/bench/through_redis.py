"""What a no-op job costs through Redis: every promise on, a real server, the daemon as a process of its own."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.pool import call_one_by_one
from bench.sides import theirs, timed
from bench.table import Row
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "workd:{default}:stream"
TICKS = os.sysconf("SC_CLK_TCK")
POLL_TIMEOUT_S = 120.0


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
        eventually(lambda: connection.xlen(STREAM) < jobs * 0.95, POLL_TIMEOUT_S)
        start, left, cpu_before = time.perf_counter(), connection.xlen(STREAM), cpu_s(process.pid)
        eventually(lambda: connection.xlen(STREAM) < jobs * 0.05, POLL_TIMEOUT_S)
        done, took_s = left - connection.xlen(STREAM), time.perf_counter() - start
        cpu = cpu_s(process.pid) - cpu_before
    return done / took_s, cpu / done * 1e6


def latency_ms(server: Server, workers: int, rounds: int) -> tuple[float, float]:
    """Return median and 99th percentile from `enqueue` to the value in the caller's hand, on an idle daemon."""
    server.client().flushall()
    with daemon(server.url, workers), Client(server.url) as client:
        client.enqueue("noop").get(timeout=30)
        times = [timed(lambda: client.enqueue("noop").get(timeout=30)) * 1000 for _ in range(rounds)]
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def stdlib_rate(jobs: int, workers: int) -> float:
    """Return no-ops a second through the standard library's pool, one by one: what all of it is held against."""
    calls = [(number,) for number in range(jobs)]
    with theirs(workers) as pool:
        call_one_by_one(pool, abs, calls[: jobs // 10])
        return jobs / timed(lambda: call_one_by_one(pool, abs, calls))


def rows(jobs: int, workers: int, round_trips: int) -> Iterator[Row]:
    """Measure producers, a full queue, and an idle daemon."""
    stdlib = stdlib_rate(jobs, workers)
    with Server(valkey_binary()) as server:
        one, bulk = enqueue_rates(server.url, jobs)
        yield Row("enqueue, one by one", ours=f"{one:,.0f} /s")
        yield Row("enqueue, in bulk", ours=f"{bulk:,.0f} /s")
        for results, text in ((False, "results off"), (True, "results stored")):
            rate, cpu_us = drain(server, jobs, workers, results=results)
            yield Row(f"drain, {text}", f"{stdlib:,.0f} calls/s", f"{rate:,.0f} jobs/s", f"{rate / stdlib:.2f} x")
            yield Row("    CPU of supervisor and workers", ours=f"{cpu_us:.0f} us a job")
        median, worst = latency_ms(server, workers, round_trips)
        yield Row("enqueue to result, idle daemon, median", ours=f"{median:.2f} ms")
        yield Row("enqueue to result, idle daemon, p99", ours=f"{worst:.2f} ms")
