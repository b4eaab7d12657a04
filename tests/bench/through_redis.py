"""What a no-op job costs through Redis: every promise on, a real server, the daemon as a process of its own.

`drain` is also what the budget and the comparison with other revisions are made of: it asks of a daemon no more than
its command line and the wire format.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes, table
from bench.budget import redis_cost
from bench.pool import call_one_by_one
from bench.processes import Cpu
from bench.sides import theirs, timed
from bench.table import Pairs, Row
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import redis

STREAM = "workd:{default}:stream"
DEAD = "workd:{default}:dead"
POLL_TIMEOUT_S = 120.0
PIPELINED = 1_000  # messages in one write while a queue is filled
RESULT_TTL_S = 600
FIRST, LAST = 0.95, 0.05  # so much of the queue is left at the beginning and at the end of what is measured
DRAIN_TARGET = 1.5  # times the standard library's pool in memory


class DaemonError(Exception):
    """The daemon did not do what is to be measured."""


@dataclass(frozen=True, slots=True)
class Drain:
    """What a drain cost, between its `FIRST` and its `LAST`."""

    jobs: int
    since: float  # monotonic clock
    until: float
    supervisor_pid: int
    worker_pids: tuple[int, ...]
    supervisor: Cpu
    workers: Cpu
    redis: Cpu
    redis_work: redis_cost.Look

    @property
    def job_s(self) -> float:
        """Seconds from one job's end to the next one's."""
        return (self.until - self.since) / self.jobs

    @property
    def own_cpu_us(self) -> float:
        """CPU of supervisor and workers, in microseconds a job."""
        return (self.supervisor + self.workers).total_s / self.jobs * 1e6

    @property
    def redis_cpu_us(self) -> float:
        """CPU of the server, in microseconds a job."""
        return self.redis.total_s / self.jobs * 1e6

    @property
    def redis_calls(self) -> float:
        """Commands that the daemon sent, a job."""
        return self.redis_work.calls / self.jobs


@contextmanager
def daemon(
    url: str, workers: int, environment: Mapping[str, str] | None = None, module: str = "workd_tasks.samples"
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon on the tasks of `module`, in this process' environment if none is given."""
    command = [sys.executable, "-m", "workd", "run", module, "--redis-url", url]
    options = ["--workers", str(workers), "--http", "", "--log-level", "warning"]
    with subprocess.Popen([*command, *options], env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def fill(connection: redis.Redis, jobs: int, result_ttl_s: float) -> None:
    """Add no-ops to the queue, as any producer may: by XADD."""
    message = json.dumps({"task": "noop"} | ({"result_ttl": result_ttl_s} if result_ttl_s else {}))
    for first in range(0, jobs, PIPELINED):
        with connection.pipeline(transaction=False) as pipeline:
            for _ in range(min(PIPELINED, jobs - first)):
                pipeline.xadd(STREAM, {"m": message})
            pipeline.execute()


def drain(
    server: Server,
    jobs: int,
    workers: int,
    *,
    results: bool,
    environment: Mapping[str, str] | None = None,
    module: str = "workd_tasks.samples",
) -> Drain:
    """Fill a queue with no-ops and have a daemon empty it. Raises `DaemonError` if it does not."""
    connection = server.client()
    connection.flushall()
    fill(connection, jobs, RESULT_TTL_S if results else 0)
    with daemon(server.url, workers, environment, module) as process:
        _wait(process, lambda: connection.xlen(STREAM) < jobs * FIRST)
        worker_pids = _grandchildren(process.pid)
        pids = ([process.pid], worker_pids, [server.pid])
        since, left, work = time.monotonic(), connection.xlen(STREAM), redis_cost.look(connection)
        before = [_cpu(group) for group in pids]
        _wait(process, lambda: connection.xlen(STREAM) < jobs * LAST)
        until, done = time.monotonic(), left - connection.xlen(STREAM)
        supervisor, ours, redis = (_cpu(group) - past for group, past in zip(pids, before, strict=True))
        work = redis_cost.look(connection).since(work)
    if dead := connection.xlen(DEAD):
        raise DaemonError(f"{dead} of {jobs} jobs are dead letters: a no-op must not fail")
    return Drain(done, since, until, process.pid, tuple(worker_pids), supervisor, ours, redis, work)


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    def is_true_or_hopeless() -> bool:
        return condition() or process.poll() is not None

    eventually(is_true_or_hopeless, POLL_TIMEOUT_S)
    if process.returncode is not None:
        raise DaemonError(f"the daemon ended with exit code {process.returncode}; what it wrote is above")


def _cpu(pids: Sequence[int]) -> Cpu:
    return sum(map(processes.cpu, pids), Cpu())


def _grandchildren(pid: int) -> list[int]:
    """Return the workers of a supervisor: its forkserver's children."""
    return [worker for forkserver in processes.children(pid) for worker in processes.children(forkserver)]


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


def latency_ms(server: Server, workers: int, rounds: int) -> tuple[float, float]:
    """Return median and 99th percentile from `enqueue` to the value in the caller's hand, on an idle daemon."""
    server.client().flushall()
    with daemon(server.url, workers), Client(server.url) as client:
        client.enqueue("noop").get(timeout=30)
        times = [timed(lambda: client.enqueue("noop").get(timeout=30)) * 1000 for _ in range(rounds)]
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def rows(jobs: int, workers: int, drains: int, round_trips: int) -> Iterator[Row]:
    """Measure producers, a full queue, and an idle daemon."""
    with Server(valkey_binary()) as server:
        one, bulk = enqueue_rates(server.url, jobs)
        yield Row("enqueue, one by one", ours=f"{one:,.0f} /s")
        yield Row("enqueue, in bulk", ours=f"{bulk:,.0f} /s")
        yield from _drain_rows(server, jobs, workers, drains)
        median, worst = latency_ms(server, workers, round_trips)
        yield Row("enqueue to result, idle daemon, median", ours=f"{median:.2f} ms")
        yield Row("enqueue to result, idle daemon, p99", ours=f"{worst:.2f} ms")


def _drain_rows(server: Server, jobs: int, workers: int, rounds: int) -> Iterator[Row]:
    """Measure full queues in turns with calls of the standard library's pool, one by one."""
    calls = [(number,) for number in range(jobs)]
    with theirs(workers) as pool:
        call_one_by_one(pool, abs, calls[: jobs // 10])
        for results, text, target in ((False, "results off", DRAIN_TARGET), (True, "results stored", None)):
            stdlib_s, ours = [], []
            for _ in range(rounds):
                stdlib_s.append(timed(call_one_by_one, pool, abs, calls) / jobs)
                ours.append(drain(server, jobs, workers, results=results))
            pairs = Pairs(stdlib_s, [one.job_s for one in ours])
            yield table.rates(f"drain, {text}; apply_async", 1, "jobs", pairs, target)
            yield _median("CPU of supervisor and workers", "us a job", ".1f", [one.own_cpu_us for one in ours])
            yield _median("CPU of Redis", "us a job", ".1f", [one.redis_cpu_us for one in ours])
            yield _median("calls of Redis", "a job", ".3f", [one.redis_calls for one in ours])


def _median(what: str, unit: str, digits: str, found: Sequence[float]) -> Row:
    return Row(f"    {what}", ours=f"{statistics.median(found):{digits}} {unit}")
