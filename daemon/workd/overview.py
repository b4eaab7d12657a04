"""Everything of one daemon as JSON, for `/status`: what it is, how it is, its queues, workers, tasks and settings.

Answers from memory, in slices. For people and their scripts: what programs watch is in `metrics`. Secrets are masked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from workd.metrics import memory_by_pid
from workd.settings import masked, names
from workd.wire import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workd.health import Report
    from workd.pages import Sources
    from workd.pool.slot import Job, Tenant
    from workd.tallies import TaskTally

SHOWN_JOBS: Final = 20
"""Of one worker: those that run side by side, or are buffered, may be thousands."""
_WORKERS_A_TURN: Final = 20
_TASKS_A_TURN: Final = 50


async def page(sources: Sources) -> dict[str, Any]:
    """Return the overview as plain data. Times are epoch seconds, spans seconds, sizes bytes."""
    settings, pulse = sources.settings(), sources.pulse
    now, tallies = asyncio.get_running_loop().time(), sources.dispatcher.tallies
    return {
        "id": sources.daemon_id,
        "version": sources.version,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started_at": round(sources.started_at, 3),
        "at": round(time.time(), 3),
        **_health(sources),
        "details": sources.vitals.details(),
        "saturated_s": round(tallies.full_s(now), 3),
        "redis": {
            "url": masked("redis_url", settings.redis_url),
            "connected": pulse.connected,
            "trouble": pulse.trouble,
            "sessions": pulse.sessions,
            "failures": pulse.failures,
        },
        "queues": list(_queues(sources, now)),
        "tasks": await _tasks(tallies.by_task),
        "workers": await _workers(sources, now),
        "settings": {name: masked(name, getattr(settings, name)) for name in names()},
    }


def _health(sources: Sources) -> dict[str, object]:
    def told(report: Report) -> dict[str, object]:
        return {"ok": report.ok, "reasons": list(report.reasons)}

    vitals = sources.vitals
    return {"live": told(vitals.live()), "ready": told(vitals.ready()), "consuming": told(vitals.consuming())}


def _queues(sources: Sources, now: float) -> Iterator[dict[str, object]]:
    """Yield each queue: what this daemon has counted, and what Redis said of it, `asked_s` ago."""
    looks = sources.dispatcher.queue_watch.read(max_age_s=float("inf"))
    for queue, tally in sources.dispatcher.tallies.by_queue.items():
        shown: dict[str, object] = {
            "name": queue,
            "deliveries": tally.deliveries,
            "redeliveries": tally.redeliveries,
            "handbacks": tally.handbacks,
            "leases_lost": tally.leases_lost,
            "dead_letters": sum(tally.dead.values()),
        }
        if (look := looks.get(queue)) is not None:
            shown |= {"asked_s": round(now - look.at, 1), **asdict(look.state)}
        yield shown


async def _tasks(by_task: Mapping[str, TaskTally]) -> dict[str, dict[str, object]]:
    told = {}
    for number, (task, tally) in enumerate(list(by_task.items()), 1):  # a reload may bring more meanwhile
        told[task] = _task(tally)
        if not number % _TASKS_A_TURN:
            await asyncio.sleep(0)
    return told


def _task(tally: TaskTally) -> dict[str, object]:
    """Return the counts of a task, and how long its runs and waits were on average; None where there was none."""
    runs = sum(tally.runs.counts)
    return {
        **{status.value: tally.ended[status] for status in Status},
        "retries": tally.retries,
        "crashes": sum(tally.crashes.values()),
        "runs": runs,
        "mean_run_s": round(tally.runs.total / runs, 6) if runs else None,
        "mean_wait_s": round(tally.waits.total / runs, 6) if runs else None,
    }


async def _workers(sources: Sources, now: float) -> list[dict[str, object]]:
    memory = await memory_by_pid(sources.pool)
    workers = []
    for number, tenant in enumerate(list(sources.pool.tenants()), 1):
        workers.append(_worker(tenant, memory, now))
        if not number % _WORKERS_A_TURN:
            await asyncio.sleep(0)
    return workers


def _worker(tenant: Tenant, memory: Mapping[int, int], now: float) -> dict[str, object]:
    shares = tenant.shares
    running = list(islice(tenant.jobs.values(), 1 if shares is None else SHOWN_JOBS))
    if shares is not None:  # what is to run alone after all these has not begun
        running = [job for job in running if job is not shares.tail]
    return {
        "slot": tenant.slot.index,
        "pid": tenant.pid,
        "state": tenant.state.name.lower(),
        "rss_bytes": memory.get(tenant.pid, 0),
        "jobs_done": tenant.done,
        "buffered": max(0, len(tenant.jobs) - 1) if shares is None else int(shares.tail is not None),
        "running": [_job(job, now - (job.since or tenant.head_since)) for job in running],
    }


def _job(job: Job, ran_s: float) -> dict[str, object]:
    flight = job.ref
    return {
        "id": flight.job_id,
        "task": job.task,
        "queue": flight.entry.queue,
        "seconds": round(ran_s, 3),
        "attempt": flight.entry.counters.attempts + 1,
        "delivery": flight.delivery,
    }
