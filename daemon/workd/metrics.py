"""The daemon's metrics for Prometheus: what `tallies` has counted and how pool, queues and connection are.

Answers `/metrics` from memory. Each name is API: docs/metrics.md lists them, and a test compares. prometheus-client
makes families and text of the numbers here, in slices: a daemon with hundreds of tasks has tens of thousands of lines,
and its loop has other things to do.
"""

from __future__ import annotations

import asyncio
import platform
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from workd.pool.memory import resident_bytes
from workd.tallies import CAUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from workd.broker.queue_state import QueueState
    from workd.pages import Sources
    from workd.pool.core import ProcessPool
    from workd.tallies import Histogram, TaskTally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
TURN_S: Final = 0.001
"""How long the loop is held up at a time."""
_WORKERS_A_TURN: Final = 50


async def page(sources: Sources) -> bytes:
    """Return the whole exposition, in the text format that every version of Prometheus reads."""
    memory = await memory_by_pid(sources.pool)
    now = asyncio.get_running_loop().time
    texts, before, until = [], "", now() + TURN_S
    for family in families(sources, memory):
        texts.append(_text(family, with_head=family.name != before))
        before = family.name
        if now() > until:
            await asyncio.sleep(0)  # other loops have their turn
            until = now() + TURN_S
    return b"".join(texts)


async def memory_by_pid(pool: ProcessPool) -> dict[int, int]:
    """Return the resident memory of all workers, in bytes. A read of /proc takes some ten microseconds."""
    memory = {}
    for number, pid in enumerate([tenant.pid for tenant in pool.tenants()], 1):
        memory[pid] = resident_bytes(pid)
        if not number % _WORKERS_A_TURN:
            await asyncio.sleep(0)
    return memory


class _One:
    """A registry with one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _text(family: Metric, *, with_head: bool) -> bytes:
    """Write a family, or a part of one whose head (HELP and TYPE, a line each) is written."""
    text: bytes = generate_latest(_One(family))
    return text if with_head else text.split(b"\n", 2)[2]


def families(sources: Sources, memory: Mapping[int, int]) -> Iterator[Metric]:
    """Yield all families; large ones in parts, one after the other. `memory`: of each worker, by pid."""
    yield from _daemon(sources)
    yield from _workers(sources, memory)
    yield from _jobs(sources)
    yield from _tasks(sources.dispatcher.tallies.by_task)
    yield from _queues(sources)
    yield from _looks(sources)
    yield from _redis(sources)
    yield from ProcessCollector(registry=CollectorRegistry(auto_describe=False)).collect()


def _daemon(sources: Sources) -> Iterator[Metric]:
    vitals = sources.vitals
    about = {"version": sources.version, "python": platform.python_version()}
    info = _gauge("build_info", "Always 1; what runs is in the labels.", labels=tuple(about))
    info.add_metric(tuple(about.values()), 1)
    yield info
    yield _gauge("start_time_seconds", "When the daemon started, in epoch seconds.", sources.started_at)
    yield _gauge("live", "1 if every loop of the daemon is within its bound: /livez.", vitals.live().ok)
    yield _gauge("ready", "1 if a job pushed now would be run, by all workers: /readyz.", vitals.ready().ok)
    yield _gauge("consuming", "1 if the daemon takes jobs: /consuming.", vitals.consuming().ok)


def _workers(sources: Sources, memory: Mapping[int, int]) -> Iterator[Metric]:
    pool = sources.pool
    slots = [slot for slot in pool.slots if not slot.closing]
    yield _gauge("workers", "Slots for workers.", len(slots))
    yield _gauge("workers_ready", "Slots whose worker can take jobs.", sum(slot.ready for slot in slots))
    busy = sum(bool(slot.tenant and slot.tenant.jobs) for slot in pool.slots)
    yield _gauge("workers_busy", "Slots whose worker is on a job.", busy)
    resident = _gauge("worker_resident_memory_bytes", "Resident memory of the worker in a slot.", labels=("slot",))
    for slot in slots:
        if slot.tenant is not None and (size := memory.get(slot.tenant.pid)):
            resident.add_metric((str(slot.index),), size)
    yield resident
    boots = pool.boots
    yield _counter("workers_started", "Workers that were made.", boots.started)
    yield _counter("workers_recycled", "Workers that were replaced while they lived.", pool.renewal.recycled)
    yield _counter("worker_deaths", "Workers that ended untold, idle ones included.", pool.endings.deaths)
    yield _counter("worker_boot_failures", "Workers that died or hung before they were ready.", boots.failed_boots)


def _jobs(sources: Sources) -> Iterator[Metric]:
    pool, dispatcher = sources.pool, sources.dispatcher
    settler, tallies = dispatcher.settler, dispatcher.tallies
    running = held = 0
    for tenant in pool.tenants():
        held += len(tenant.jobs)
        shares = tenant.shares
        running += bool(tenant.jobs) if shares is None else len(tenant.jobs) - (shares.tail is not None)
    yield _gauge("jobs_running", "Jobs that workers are on.", running)
    yield _gauge("jobs_buffered", "Jobs fetched and not begun.", held - running + len(pool.waiting))
    yield _gauge("jobs_unsettled", "Jobs whose end Redis has not confirmed.", settler.unsettled)
    yield _gauge("outcomes_refused", "Outcomes that Redis refuses to take; they are tried again.", settler.held)
    yield _counter("replies_lost", "Replies that could not be written; the jobs have ended.", settler.lost_replies)
    now = asyncio.get_running_loop().time()
    text = "Time in which the daemon had no room for further jobs: its rate is the saturation, from 0 to 1."
    yield _counter("saturated_seconds", text, tallies.full_s(now))
    yield _histogram("settle_batch_jobs", "Jobs settled in one call.", (), {(): tallies.batches})


def _tasks(by_task: Mapping[str, TaskTally]) -> Iterator[Metric]:
    """Yield a task's part of a family at a time, since a histogram has many lines."""
    by_task = dict(by_task)  # a reload in the middle of a page brings new ones: those are for the next
    for task, tally in by_task.items():
        ended = _counter("jobs", "Jobs that have ended, by what they ended as.", labels=("task", "status"))
        for status, count in tally.ended.items():
            ended.add_metric((task, status.value), count)
        yield ended
    for task, tally in by_task.items():
        crashes = _counter("crashes", "Deaths of workers under a job, by cause.", labels=("task", "cause"))
        for cause in CAUSES:
            crashes.add_metric((task, cause), tally.crashes[cause])
        yield crashes
    retries = _counter("retries", "Runs that failed, or crashed, and are repeated.", labels=("task",))
    for task, tally in by_task.items():
        retries.add_metric((task,), tally.retries)
    yield retries
    run = "Time that runs have taken, those that were killed included."
    wait = "Time from a job's arrival in the stream, or when it was due, to the start of its run."
    ran = {task: tally for task, tally in by_task.items() if any(tally.runs.counts)}
    for task, tally in ran.items():
        yield _histogram("job_run_seconds", run, ("task",), {(task,): tally.runs})
    for task, tally in ran.items():
        yield _histogram("job_wait_seconds", wait, ("task",), {(task,): tally.waits})


def _queues(sources: Sources) -> Iterator[Metric]:
    """Yield what this daemon has counted, by queue."""
    by_queue = sources.dispatcher.tallies.by_queue
    counters = (
        ("deliveries", "Jobs that came to this daemon.", "deliveries"),
        ("redeliveries", "Jobs taken over from daemons that had died.", "redeliveries"),
        ("handbacks", "Jobs given back to the queue unharmed: a drain, a pause, no room.", "handbacks"),
        ("leases_lost", "Leases that another daemon took over, since they were not renewed in time.", "leases_lost"),
        ("jobs_lost", "Jobs that went to another daemon with a lost lease.", "lost"),
    )
    for name, text, field in counters:
        family = _counter(name, text, labels=("queue",))
        for queue, tally in by_queue.items():
            family.add_metric((queue,), getattr(tally, field))
        yield family
    dead = _counter("dead_letters", "Dead letters that this daemon has written.", labels=("queue", "reason"))
    for queue, tally in by_queue.items():
        for reason, count in tally.dead.items():
            dead.add_metric((queue, reason), count)
    yield dead


def _looks(sources: Sources) -> Iterator[Metric]:
    """Yield what Redis says of the queues: the same from each daemon that serves them."""
    looks = {queue: look.state for queue, look in sources.dispatcher.queue_watch.read().items()}
    jobs = _gauge("queue_jobs", "Jobs of the queue, wherever they are.", labels=("queue", "state"))
    for queue, state in looks.items():
        for name, count in _counts(state):
            if count is not None:  # else somebody else's key is in its place
                jobs.add_metric((queue, name), count)
    yield jobs
    gauges = (
        ("queue_oldest_seconds", "How long the first job that has not started has waited; 0 if none waits.", _oldest),
        ("queue_overdue_seconds", "How long the first scheduled job has been due, and not been moved.", _overdue),
        ("queue_paused", "1 if somebody has paused the queue.", lambda state: float(state.paused is not None)),
        ("queue_daemons", "Daemons that serve the queue, by their leases.", lambda state: state.daemons),
    )
    for family_name, text, read in gauges:
        family = _gauge(family_name, text, labels=("queue",))
        for queue, state in looks.items():
            if (value := read(state)) is not None:
                family.add_metric((queue,), value)
        yield family
    trimmed = _counter("queue_dead_trimmed", "Dead letters ever trimmed by age or size.", labels=("queue",))
    for queue, state in looks.items():
        trimmed.add_metric((queue,), state.dead_trimmed)
    yield trimmed


def _counts(state: QueueState) -> tuple[tuple[str, int | None], ...]:
    return (
        ("ready", state.queued),
        ("limited", state.waiting),
        ("pending", state.running),
        ("scheduled", state.scheduled),
        ("dead", state.dead),
        ("inbox", state.inbox),
    )


def _oldest(state: QueueState) -> float:
    return state.oldest_s or 0.0


def _overdue(state: QueueState) -> float:
    return max(0.0, -(state.due_in_s or 0.0))


def _redis(sources: Sources) -> Iterator[Metric]:
    pulse = sources.pulse
    yield _gauge("redis_connected", "1 if the connection to Redis is up and registered.", pulse.connected)
    yield _counter("redis_sessions", "Connections over which jobs were fetched.", pulse.sessions)
    yield _counter("redis_failures", "Connections that broke, and attempts that failed.", pulse.failures)
    text = "Time from a call to its answer, its turn on the connection included. Blocking reads do not count."
    yield _histogram("redis_round_trip_seconds", text, (), {(): sources.dispatcher.tallies.round_trips})


# ── families ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _gauge(name: str, text: str, value: float | None = None, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:

    return GaugeMetricFamily(f"workd_{name}", text, value=value, labels=labels or None)


def _counter(name: str, text: str, value: float | None = None, labels: tuple[str, ...] = ()) -> CounterMetricFamily:
    """Make a counter; `_total` is put behind its name."""
    return CounterMetricFamily(f"workd_{name}", text, value=value, labels=labels or None)


def _histogram(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], Histogram]) -> Metric:

    family = HistogramMetricFamily(f"workd_{name}", text, labels=labels)
    for label_values, histogram in values.items():
        bounds = (*map(floatToGoString, histogram.bounds), "+Inf")
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(label_values, buckets, sum_value=histogram.total)
    return family
