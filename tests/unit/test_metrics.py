from __future__ import annotations

import asyncio
import math
import os
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from workd import metrics, queue_watch
from workd.broker.queue_state import QueueState
from workd.broker.queues import Paused
from workd.clock import Clock
from workd.health import Report
from workd.pages import DaemonPages, Sources
from workd.pulse import Pulse
from workd.queue_watch import Look, QueueWatch
from workd.tallies import Tallies
from workd.wire import Status

EMPTY = QueueState("", 0, 0, 0, 0, 0, 0, 1, 0, None, None, None)


class Parts:
    """A daemon as far as its pages look at it: two slots, one with a worker, which is this very process."""

    def __init__(self, *queues: str) -> None:
        self.worker = SimpleNamespace(pid=os.getpid(), jobs={1: "running", 2: "buffered"}, shares=None)
        self.slots = [
            SimpleNamespace(index=0, tenant=self.worker, ready=True, closing=False),
            SimpleNamespace(index=1, tenant=None, ready=False, closing=False),
            SimpleNamespace(index=2, tenant=None, ready=True, closing=True),
        ]
        self.pool = SimpleNamespace(
            slots=self.slots,
            waiting=["job"],
            tenants=lambda: iter([self.worker]),
            boots=SimpleNamespace(started=5, failed_boots=1),
            renewal=SimpleNamespace(recycled=2),
            endings=SimpleNamespace(deaths=3),
        )
        self.tallies = Tallies(queues or ("default",), Clock())
        self.watch = QueueWatch()
        settler = SimpleNamespace(unsettled=4, held=1, lost_replies=6)
        self.dispatcher = SimpleNamespace(settler=settler, tallies=self.tallies, queue_watch=self.watch)
        self.pulse = Pulse(connected=True, sessions=2, failures=1)
        yes, no = Report(ok=True), Report(ok=False)
        self.vitals = SimpleNamespace(live=lambda: yes, ready=lambda: no, consuming=lambda: yes)

    @property
    def pages(self) -> DaemonPages:
        parts = (cast("Any", None), self.pool, self.dispatcher, self.pulse, self.vitals)
        return DaemonPages(Sources("me", 1_700_000_000.0, *cast("Any", parts)))

    def saw(self, queue: str, state: QueueState, ago_s: float = 0.0) -> None:
        self.watch._looks[queue] = Look(state, asyncio.get_running_loop().time() - ago_s)


@pytest.fixture
async def parts() -> Parts:
    return Parts("default", "images")


async def samples(parts: Parts) -> dict[str, float]:
    """Return the samples by name and labels, as the text has them."""
    text = (await parts.pages.metrics()).decode()
    return {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_pool_and_connection_are_told_as_they_are(parts: Parts) -> None:
    found = await samples(parts)
    assert {
        "workd_workers": 2,  # one that is closing is none
        "workd_workers_ready": 1,
        "workd_workers_busy": 1,
        "workd_jobs_running": 1,
        "workd_jobs_buffered": 2,
        "workd_jobs_unsettled": 4,
        "workd_outcomes_refused": 1,
        "workd_replies_lost_total": 6,
        "workd_workers_started_total": 5,
        "workd_workers_recycled_total": 2,
        "workd_worker_deaths_total": 3,
        "workd_worker_boot_failures_total": 1,
        "workd_redis_connected": 1,
        "workd_redis_sessions_total": 2,
        "workd_redis_failures_total": 1,
        "workd_live": 1,
        "workd_ready": 0,
        "workd_start_time_seconds": 1_700_000_000.0,
    }.items() <= found.items()
    assert found["workd_worker_resident_memory_bytes{slot=0}"] > 1_000_000
    assert "workd_worker_resident_memory_bytes{slot=1}" not in found


async def test_a_job_that_shares_its_worker_runs_beside_the_others(parts: Parts) -> None:
    parts.worker.shares = SimpleNamespace(tail=None)
    found = await samples(parts)
    assert (found["workd_jobs_running"], found["workd_jobs_buffered"]) == (2, 1)


async def test_a_job_that_waits_for_a_shared_worker_to_be_alone_with_it_does_not_run(parts: Parts) -> None:
    parts.worker.shares = SimpleNamespace(tail="buffered")
    found = await samples(parts)
    assert (found["workd_jobs_running"], found["workd_jobs_buffered"]) == (1, 2)


async def test_buckets_add_up(parts: Parts) -> None:
    parts.tallies.know(["square"])
    runs = parts.tallies.by_task["square"].runs
    for value in (0.0005, 0.0005, 0.3, 9999.0):
        runs.note(value)
    found = await samples(parts)
    bucket = "workd_job_run_seconds_bucket{le=%s}{task=square}"
    assert [found[bucket % le] for le in ("0.001", "0.25", "0.5", "3600.0", "+Inf")] == [2, 2, 3, 3, 4]
    assert found["workd_job_run_seconds_count{task=square}"] == 4
    assert found["workd_job_run_seconds_sum{task=square}"] == pytest.approx(9999.301)


async def test_counters_begin_at_zero_so_that_the_first_increase_is_seen(parts: Parts) -> None:
    parts.tallies.know(["square"])
    found = await samples(parts)
    for name in (
        *(f"workd_jobs_total{{status={status}}}{{task=square}}" for status in Status),
        "workd_crashes_total{cause=oom}{task=square}",
        "workd_retries_total{task=other}",
        "workd_dead_letters_total{queue=images}{reason=failed}",
        "workd_leases_lost_total{queue=images}",
    ):
        assert found[name] == 0


async def test_a_task_that_has_not_run_has_no_histogram(parts: Parts) -> None:
    parts.tallies.know(["square"])
    assert not [name for name in await samples(parts) if name.startswith("workd_job_run_seconds")]


async def test_queues_are_told_as_they_were_seen(parts: Parts) -> None:
    state = EMPTY
    parts.saw("default", QueueState("default", 7, 1, 2, 3, 4, 5, 6, 8, 9.5, -3.0, Paused()))
    parts.saw("images", state)
    found = await samples(parts)
    counts = {"ready": 7, "limited": 1, "pending": 2, "scheduled": 3, "dead": 4, "inbox": 5}
    for name, count in counts.items():
        assert found[f"workd_queue_jobs{{queue=default}}{{state={name}}}"] == count
    assert found["workd_queue_daemons{queue=default}"] == 6
    assert found["workd_queue_dead_trimmed_total{queue=default}"] == 8
    assert found["workd_queue_oldest_seconds{queue=default}"] == 9.5
    assert found["workd_queue_overdue_seconds{queue=default}"] == 3.0
    assert found["workd_queue_paused{queue=default}"] == 1
    assert found["workd_queue_oldest_seconds{queue=images}"] == 0
    assert found["workd_queue_overdue_seconds{queue=images}"] == 0
    assert found["workd_queue_paused{queue=images}"] == 0


async def test_what_is_stale_or_unknown_is_left_out(parts: Parts) -> None:
    parts.saw("default", EMPTY, ago_s=queue_watch.STALE_S + 1)
    parts.saw("images", QueueState("images", None, None, None, 3, None, 5, None, 0, None, None, None))
    found = await samples(parts)
    assert not [name for name in found if name.startswith("workd_queue") and "queue=default" in name]
    assert "workd_queue_jobs{queue=images}{state=ready}" not in found
    assert found["workd_queue_jobs{queue=images}{state=scheduled}"] == 3
    assert "workd_queue_daemons{queue=images}" not in found


async def test_names_are_escaped(parts: Parts) -> None:
    parts.tallies.know(['a"b\\c\nd'])
    assert 'workd_retries_total{task=a"b\\c\nd}' in await samples(parts)


async def test_each_family_has_one_head_however_many_parts_it_came_in(parts: Parts) -> None:
    parts.tallies.know([f"task-{number}" for number in range(30)])
    for tally in parts.tallies.by_task.values():
        tally.runs.note(1.0)
    text = (await parts.pages.metrics()).decode()
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(names) == len(set(names)) == text.count("# HELP ")
    assert "workd_job_run_seconds" in names
    assert text.endswith("\n")


async def test_a_page_of_many_tasks_leaves_the_loop_its_turns(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TURN_S", -math.inf)  # each family in a turn of its own
    parts.tallies.know([f"task-{number}" for number in range(200)])
    page = asyncio.ensure_future(parts.pages.metrics())
    turns = 0
    while not page.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 400  # two parts for each task
    assert b'task="task-199"' in page.result()


async def test_a_reload_in_the_middle_of_a_page_does_not_break_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "TURN_S", -math.inf)  # each family in a turn of its own
    parts.tallies.know([f"task-{number}" for number in range(20)])
    page = asyncio.ensure_future(parts.pages.metrics())
    for number in range(200):
        await asyncio.sleep(0)
        parts.tallies.know([f"new-{number}"])
    assert b'workd_retries_total{task="task-19"}' in await page
    assert b'workd_retries_total{task="new-199"}' in await parts.pages.metrics()


async def test_memory_is_read_in_turns(parts: Parts) -> None:
    many = [SimpleNamespace(pid=os.getpid()) for _ in range(500)]
    reading = asyncio.ensure_future(metrics.memory_by_pid(cast("Any", SimpleNamespace(tenants=lambda: iter(many)))))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    assert reading.result()[os.getpid()] > 1_000_000
