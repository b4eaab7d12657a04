"""What a real daemon tells over HTTP: metrics, status and whether it consumes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import QUEUE, FaultQueue
from support.scraping import DOCS, Scraper, documented
from support.waiting import eventually
from workd import Client
from workd.client.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

WAIT_S = 30.0


@pytest.fixture
def queue(valkey: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(valkey, tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def scraper() -> Scraper:
    return Scraper()


def daemon(queue: FaultQueue, scraper: Scraper, **settings: Any) -> DaemonProcess:
    return DaemonProcess(queue.server.url, queue.folder, http=scraper.address, **settings)


def wait_value(scraper: Scraper, wanted: float, name: str, **labels: str) -> None:
    """Wait until a metric has this value: what is counted when Redis has confirmed it comes a moment later."""
    eventually(lambda: scraper.value(name, **labels) == wanted, WAIT_S)


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not DOCS.exists(), reason="the tests run outside the repository, which has the documents")
def test_the_page_lists_each_metric_with_type_and_labels_and_no_other(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper) as running:
        running.wait_ready()
        queue.succeeded(queue.push("quick"))
        wait_value(scraper, 1, "workd_jobs_total", task="quick", status="succeeded")
        assert scraper.described() == documented()


def test_each_end_of_a_job_is_counted_once(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper, unknown_task_s=0.01) as running:
        running.wait_ready()
        queue.succeeded(queue.push("quick"))
        queue.succeeded(queue.push("fail_until", 3))
        queue.ended(queue.push("refuse", "no"), status="dead")
        queue.ended(queue.push("quick", expires_at=1), status="expired")
        queue.push_raw(b"{no json")
        queue.push("made-up-name")
        wait_value(scraper, 2, "workd_jobs_total", task="other", status="dead")
        assert {
            (labels["task"], labels["status"]): value
            for name, labels, value in scraper.samples()
            if name == "workd_jobs_total" and value
        } == {
            ("quick", "succeeded"): 1,
            ("quick", "expired"): 1,
            ("fail_until", "succeeded"): 1,
            ("refuse", "dead"): 1,
            ("other", "dead"): 2,
        }
        assert scraper.value("workd_retries_total", task="fail_until") == 2
        assert {
            labels["reason"]: value
            for name, labels, value in scraper.samples()
            if name == "workd_dead_letters_total" and value
        } == {"rejected": 1, "invalid": 1, "unknown-task": 1}
        assert scraper.value("workd_job_run_seconds_count", task="fail_until") == 3
        assert scraper.value("workd_job_run_seconds_count", task="quick") == 1
        assert "made-up-name" not in scraper.exposition()


def test_waits_and_runs_are_measured(queue: FaultQueue, scraper: Scraper) -> None:
    numbers = count(1)

    def told() -> tuple[float, float]:
        run_s = scraper.value("workd_job_run_seconds_sum", task="hold")
        return run_s, scraper.value("workd_job_wait_seconds_sum", task="quick")

    def agrees() -> bool:
        """Have a job wait for another one, and compare both with their outcomes."""
        number, (run_s, wait_s) = next(numbers), told()
        first = queue.push("hold", f"gate-{number}")
        began = queue.run(first).at
        second = queue.push("quick")
        queue.open_gate(f"gate-{number}")
        outcome, waited = queue.succeeded(first), queue.succeeded(second)
        assert outcome["ended_at"] > began
        wait_value(scraper, number, "workd_job_run_seconds_count", task="quick")
        runs_s, waits_s = told()
        assert runs_s - run_s == pytest.approx(outcome["ended_at"] - outcome["started_at"], abs=0.01)
        return bool(waits_s - wait_s == pytest.approx(waited["started_at"] - waited["enqueued_at"], abs=0.1))

    with daemon(queue, scraper, workers=1) as running:
        running.wait_ready()
        # Waits are by the server's clock, and a daemon that gets no CPU when it is told the time is behind it.
        eventually(agrees, WAIT_S)


@pytest.mark.parametrize(
    ("task", "fields", "cause"),
    [
        (("die", "sigkill"), {}, "signal"),
        (("die", "exit"), {}, "exit"),
        (("hang", "gil"), {"timeout": 0.3}, "timeout"),
    ],
)
def test_a_death_of_a_worker_is_counted_by_its_cause(
    queue: FaultQueue, scraper: Scraper, task: tuple[str, str], fields: dict[str, Any], cause: str
) -> None:
    with daemon(queue, scraper, max_crashes=1) as running:
        running.wait_ready()
        queue.ended(queue.push(*task, **fields), status="dead")
        assert {
            (labels["task"], labels["cause"]): value
            for name, labels, value in scraper.samples()
            if name == "workd_crashes_total" and value
        } == {(task[0], cause): 1}
        wait_value(scraper, 3, "workd_workers_started_total")
        assert scraper.value("workd_worker_deaths_total") == 1


def test_what_is_at_hand_is_told(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper, workers=2) as running:
        running.wait_ready()
        held = [queue.push("hold", "gate") for _ in range(3)]
        for job_id in held[:2]:
            queue.run(job_id)
        wait_value(scraper, 2, "workd_workers_busy")
        assert scraper.value("workd_jobs_running") == 2
        assert scraper.value("workd_workers") == scraper.value("workd_workers_ready") == 2
        assert scraper.value("workd_worker_resident_memory_bytes", slot="1") > 1_000_000
        queue.open_gate("gate")
        queue.all_ended(held)
        wait_value(scraper, 0, "workd_workers_busy")


def test_a_daemon_without_room_is_saturated_for_as_long_as_it_has_none(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper, workers=1) as running:
        running.wait_ready()
        assert scraper.value("workd_saturated_seconds_total") == 0
        held = [queue.push("hold", "gate") for _ in range(50)]
        queue.run(held[0])
        eventually(lambda: scraper.value("workd_saturated_seconds_total") > 0.2, WAIT_S)
        assert scraper.get("/consuming")[0] == 200  # it works on all that it can
        queue.open_gate("gate")
        queue.all_ended(held)
        full_s = scraper.value("workd_saturated_seconds_total")
        assert eventually(lambda: scraper.value("workd_saturated_seconds_total"), WAIT_S) == full_s


def test_the_queues_are_told_as_redis_has_them(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper, queues="default,images", workers=1) as running:
        running.wait_ready()
        with Client(queue.server.url) as client, Admin(queue.server.url) as admin:
            client.with_options(delay_s=600).enqueue("quick")
            queue.ended(queue.push("refuse", "no"), status="dead")
            admin.queues.pause("images", "a test")
            running.wait_log("the queue is paused")
            for _ in range(3):
                client.with_options(queue="images").enqueue("quick")
        wait_value(scraper, 3, "workd_queue_jobs", queue="images", state="ready")
        wait_value(scraper, 1, "workd_queue_jobs", queue="default", state="scheduled")
        wait_value(scraper, 1, "workd_queue_jobs", queue="default", state="dead")
        assert scraper.value("workd_queue_paused", queue="images") == 1
        assert scraper.value("workd_queue_paused", queue="default") == 0
        assert scraper.value("workd_queue_daemons", queue="images") == 1
        assert scraper.value("workd_queue_oldest_seconds", queue="images") > 0
        assert scraper.value("workd_queue_overdue_seconds", queue="default") == 0


def test_jobs_of_a_dead_daemon_are_redeliveries(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, Scraper(), lease_s=1) as dying:
        dying.wait_ready()
        job_id = queue.push("hold", "gate")
        queue.run(job_id)
        with daemon(queue, scraper, lease_s=1) as heir:
            heir.wait_ready()
            dying.kill()
            wait_value(scraper, 1, "workd_redeliveries_total", queue=QUEUE)
            assert scraper.value("workd_deliveries_total", queue=QUEUE) == 1
            queue.open_gate("gate")
            queue.succeeded(job_id)


def test_a_lease_that_was_not_renewed_in_time_is_counted(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper, lease_s=1) as late:
        late.wait_ready()
        job_id = queue.push("hold", "gate")
        queue.run(job_id)
        with daemon(queue, Scraper(), lease_s=1) as other:
            other.wait_ready()
            late.pause()
            other.wait_log("took over jobs of dead daemons", timeout_s=WAIT_S)
            late.resume()
            wait_value(scraper, 1, "workd_leases_lost_total", queue=QUEUE)
            wait_value(scraper, 1, "workd_jobs_lost_total", queue=QUEUE)
            queue.open_gate("gate")
            queue.succeeded(job_id)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: install Debian's prometheus")
def test_prometheus_own_linter_has_nothing_to_say(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper) as running:
        running.wait_ready()
        queue.succeeded(queue.push("quick"))
        wait_value(scraper, 1, "workd_jobs_total", task="quick", status="succeeded")
        text = scraper.exposition()
    linted = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")


# ── health ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_metrics_and_health_are_answered_while_redis_hangs(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper) as running:
        running.wait_ready()
        queue.succeeded(queue.push("quick"))
        assert scraper.get("/consuming")[0] == 200
        queue.server.pause()
        try:
            assert scraper.value("workd_jobs_total", task="quick", status="succeeded") == 1
            eventually(lambda: scraper.get("/consuming")[0] == 503, WAIT_S)
            assert "Redis" in scraper.json("/consuming")["reasons"][0]
            assert scraper.value("workd_consuming") == 0
            assert scraper.get("/livez")[0] == 200
        finally:
            queue.server.resume()
        eventually(lambda: scraper.get("/consuming")[0] == 200, WAIT_S)
        assert scraper.value("workd_redis_sessions_total") == 2


def test_a_daemon_whose_queues_are_all_paused_does_not_consume(queue: FaultQueue, scraper: Scraper) -> None:
    with daemon(queue, scraper, queues="default,images") as running, Admin(queue.server.url) as admin:
        running.wait_ready()
        admin.queues.pause("default")
        eventually(lambda: scraper.json("/status")["queues"][0]["paused"], WAIT_S)
        assert scraper.get("/consuming")[0] == 200  # images is open
        admin.queues.pause("images")
        eventually(lambda: scraper.get("/consuming")[0] == 503, WAIT_S)
        assert "paused" in scraper.json("/consuming")["reasons"][0]
        admin.queues.resume("default")
        eventually(lambda: scraper.get("/consuming")[0] == 200, WAIT_S)


def test_the_command_asks_whether_it_consumes(queue: FaultQueue, scraper: Scraper) -> None:
    command = [sys.executable, "-m", "workd", "health", "--consuming", "--http", scraper.address, "--timeout-s", "20"]
    with daemon(queue, scraper) as running:
        running.wait_ready()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "consuming\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


# ── status ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_shows_everything_and_no_secret(queue: FaultQueue, scraper: Scraper) -> None:
    key = "a-key-that-nobody-must-see-00000"
    with daemon(queue, scraper, environment={"WORKD_SIGNING_KEYS": key}) as running:
        running.wait_ready()
        with Client(queue.server.url, signing_key=key) as client:
            job_id = client.enqueue("hold", "gate").id
        run = queue.run(job_id)
        eventually(lambda: scraper.json("/status")["queues"][0].get("running"), WAIT_S)
        status = scraper.json("/status")
        queue.open_gate("gate")
    assert (status["id"], status["pid"]) == (running.daemon_id, running.pid)
    assert status["live"] == status["ready"] == status["consuming"] == {"ok": True, "reasons": []}
    [worker] = [worker for worker in status["workers"] if worker["running"]]
    assert worker["pid"] == run.pid
    assert worker["rss_bytes"] > 1_000_000
    [job] = worker["running"]
    assert (job["id"], job["task"], job["queue"], job["attempt"], job["delivery"]) == (job_id, "hold", QUEUE, 1, 1)
    assert 0 <= job["seconds"] < WAIT_S
    assert status["queues"][0]["name"] == QUEUE
    assert status["settings"]["workers"] == 2
    assert status["settings"]["signing_keys"] == ["***"]
    assert key not in json.dumps(status)
