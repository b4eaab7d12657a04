"""A trace goes from the producer's span through the message into the worker's spans, over real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support import traced_producer
from support.daemons import DaemonProcess, clean_environment
from support.otlp import Collector, Span
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 60.0
TASKS = "support.trace_tasks"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(valkey_binary()) as server:
        yield server


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def daemon(server: Server, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("daemon")
    with DaemonProcess(server.url, folder, modules=(TASKS,), environment=collector.environment) as daemon:
        yield daemon.wait_ready()


class Produced:
    """What a producer says it has done."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.jobs: dict[str, list[str]] = said["jobs"]
        self.spans: list[dict[str, Any]] = said["spans"]
        [self.request] = [span for span in self.spans if span["name"] == "request"]

    def sent(self, job_id: str) -> dict[str, Any]:
        """The span in which this job alone was sent."""
        [span] = [span for span in self.spans if span["attributes"].get("messaging.message.id") == job_id]
        return span

    def batch(self, name: str) -> dict[str, Any]:
        [span] = [s for s in self.spans if s["name"] == name and "messaging.batch.message_count" in s["attributes"]]
        return span


def produce(server: Server, how: str) -> Produced:
    program = [sys.executable, str(traced_producer.__file__), server.url, how]
    done = subprocess.run(program, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Produced(json.loads(done.stdout))


@pytest.fixture(scope="module")
def produced(server: Server, daemon: DaemonProcess) -> Produced:
    return produce(server, "sync")


def runs_of(collector: Collector, job_id: str, count: int = 1) -> list[Span]:
    """Wait until the spans of so many runs of a job have come."""
    return eventually(
        lambda: ((found := _of(collector, job_id, "run ")) and len(found) >= count and found) or [], PATIENCE_S
    )


def waits_of(collector: Collector, job_id: str) -> list[Span]:
    return eventually(lambda: _of(collector, job_id, "wait "), PATIENCE_S)


def _of(collector: Collector, job_id: str, prefix: str) -> list[Span]:
    spans = collector.spans()
    return [s for s in spans if s.name.startswith(prefix) and s.attributes.get("messaging.message.id") == job_id]


def result(server: Server, job_id: str) -> Any:
    with Client(server.url) as client:
        return client.result(job_id).get(PATIENCE_S)


def test_a_run_is_a_child_of_the_span_in_which_its_job_was_sent(
    server: Server, collector: Collector, daemon: DaemonProcess, produced: Produced
) -> None:
    [job] = produced.jobs["one"]
    sent = produced.sent(job)
    assert (sent["name"], sent["kind"]) == ("send ids", "PRODUCER")
    assert (sent["trace_id"], sent["parent_id"]) == (produced.request["trace_id"], produced.request["span_id"])
    assert sent["attributes"] == {
        "messaging.system": "workd", "messaging.operation.type": "send", "messaging.operation.name": "send",
        "messaging.destination.name": "default", "messaging.message.id": job, "workd.task": "ids",
    }  # fmt: skip
    [run] = runs_of(collector, job)
    assert (run.name, run.kind, run.is_error) == ("run ids", "CONSUMER", False)
    assert (run.trace_id, run.parent_id) == (sent["trace_id"], sent["span_id"])
    assert run.attributes == {
        "messaging.system": "workd", "messaging.operation.type": "process", "messaging.operation.name": "run",
        "messaging.destination.name": "default", "messaging.message.id": job, "messaging.client.id": daemon.daemon_id,
        "messaging.consumer.group.name": "workd", "workd.task": "ids", "workd.attempt": 1, "workd.delivery": 1,
        "workd.outcome": "succeeded",
    }  # fmt: skip
    assert run.resource["service.name"] == "workd"
    assert run.resource["service.instance.id"].startswith(daemon.daemon_id)
    assert result(server, job) == {"trace_id": run.trace_id, "span_id": run.span_id}  # it was current in the task


def test_the_wait_is_a_span_from_the_enqueuing_to_the_first_run(collector: Collector, produced: Produced) -> None:
    for way, runs in (("one", 1), ("retried", 2)):
        [job] = produced.jobs[way]
        first = runs_of(collector, job, runs)[0]
        [wait] = waits_of(collector, job)
        assert (wait.trace_id, wait.parent_id) == (first.trace_id, first.parent_id)
        assert wait.kind == "INTERNAL"
        assert wait.end_ns == first.start_ns
        assert abs(wait.start_ns / 1e6 - int(job.partition("-")[0])) <= 1


def test_lines_that_are_logged_in_a_run_have_its_ids(
    collector: Collector, daemon: DaemonProcess, produced: Produced
) -> None:
    [job] = produced.jobs["one"]
    [run] = runs_of(collector, job)
    [line] = eventually(lambda: [one for one in daemon.log("in the span") if one["job_id"] == job], PATIENCE_S)
    assert (line["trace_id"], line["span_id"]) == (run.trace_id, run.span_id)


def test_a_coroutine_runs_in_a_span_too(server: Server, collector: Collector, produced: Produced) -> None:
    [job] = produced.jobs["loop"]
    [run] = runs_of(collector, job)
    assert result(server, job) == {"trace_id": run.trace_id, "span_id": run.span_id}
    assert run.parent_id == produced.sent(job)["span_id"]


def test_each_run_of_a_retried_job_is_in_the_same_trace_with_its_error(
    collector: Collector, daemon: DaemonProcess, produced: Produced
) -> None:
    [job] = produced.jobs["retried"]
    first, second = runs_of(collector, job, 2)
    sent = produced.sent(job)
    assert {(run.trace_id, run.parent_id) for run in (first, second)} == {(sent["trace_id"], sent["span_id"])}
    assert [run.attributes["workd.attempt"] for run in (first, second)] == [1, 2]
    assert (first.is_error, first.status, first.events) == (True, "ValueError: not yet", ("exception",))
    assert (first.attributes["error.type"], first.attributes["workd.outcome"]) == ("ValueError", "failed")
    assert (second.is_error, second.attributes["workd.outcome"]) == (False, "succeeded")
    said = eventually(lambda: [one for one in daemon.log("a run failed and is repeated") if one["job_id"] == job])
    assert (said[0]["trace_id"], said[0]["span_id"]) == (sent["trace_id"], sent["span_id"])  # the supervisor's own


def test_a_retry_that_was_asked_for_is_no_error_and_a_refusal_is_one(collector: Collector, produced: Produced) -> None:
    asked, _ = runs_of(collector, produced.jobs["asked"][0], 2)
    assert (asked.is_error, asked.attributes["workd.outcome"]) == (False, "retry")
    [refused] = runs_of(collector, produced.jobs["refused"][0])
    assert (refused.is_error, refused.attributes["workd.outcome"]) == (True, "rejected")


def test_jobs_that_are_sent_together_are_in_one_span(collector: Collector, produced: Produced) -> None:
    batch = produced.batch("send ids")
    assert batch["attributes"]["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in batch["attributes"]
    runs = [run for job in produced.jobs["many"] for run in runs_of(collector, job)]
    assert {(run.trace_id, run.parent_id) for run in runs} == {(batch["trace_id"], batch["span_id"])}


def test_all_steps_of_a_chain_are_in_its_trace(collector: Collector, produced: Produced) -> None:
    [first] = produced.jobs["chain"]
    sent = produced.sent(first)
    for job in (first, f"{first}.1", f"{first}.2"):
        [run] = runs_of(collector, job)
        assert (run.trace_id, run.parent_id) == (sent["trace_id"], sent["span_id"]), job


@pytest.mark.parametrize("how", ["sync", "async"])
def test_members_of_a_group_and_its_callback_are_in_its_trace(
    server: Server, collector: Collector, produced: Produced, how: str
) -> None:
    mine = produced if how == "sync" else produce(server, how)
    [group] = mine.jobs["group"]
    batch = mine.batch("send group")
    assert batch["parent_id"] == mine.request["span_id"]
    assert batch["attributes"]["messaging.destination.name"] == "default"
    [end] = runs_of(collector, f"{group}.end")
    assert (end.name, end.trace_id, end.parent_id) == ("run total", batch["trace_id"], batch["span_id"])

    # Each worker sends its own spans: the callback's may come before those of the members.
    def members() -> list[Span]:
        return [span for span in collector.spans("run add") if span.parent_id == batch["span_id"]]

    eventually(lambda: len(members()) >= 2, PATIENCE_S)
    assert len(members()) == 2


def test_an_asynchronous_client_sends_in_spans_too(server: Server, collector: Collector, daemon: DaemonProcess) -> None:
    mine = produce(server, "async")
    [job] = mine.jobs["one"]
    [run] = runs_of(collector, job)
    assert (run.trace_id, run.parent_id) == (mine.request["trace_id"], mine.sent(job)["span_id"])
    batch = mine.batch("send ids")
    assert {runs_of(collector, job)[0].parent_id for job in mine.jobs["many"]} == {batch["span_id"]}


def test_a_trace_that_the_producer_gives_itself_is_the_one(collector: Collector, produced: Produced) -> None:
    [job] = produced.jobs["given"]
    [run] = runs_of(collector, job)
    _, trace_id, span_id, _ = traced_producer.GIVEN.split("-")
    assert (run.trace_id, run.parent_id) == (trace_id, span_id)
    assert not [span for span in produced.spans if span["attributes"].get("messaging.message.id") == job]


def test_a_job_that_a_job_enqueues_is_in_the_trace_of_its_run(
    server: Server, collector: Collector, produced: Produced
) -> None:
    [job] = produced.jobs["inside"]
    [run] = runs_of(collector, job)
    inner = result(server, job)
    [sent] = eventually(lambda: _of(collector, inner, "send "), PATIENCE_S)
    assert (sent.trace_id, sent.parent_id) == (run.trace_id, run.span_id)
    assert runs_of(collector, inner)[0].parent_id == sent.span_id


def test_spans_are_sent_before_a_worker_leaves(server: Server, tmp_path: Path) -> None:
    with Collector() as collector:
        environment = collector.environment | {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}  # so nothing is sent before
        queue = "leaving"
        with (
            DaemonProcess(
                server.url, tmp_path, modules=(TASKS,), environment=environment, queues=queue, workers=1
            ) as daemon,
            Client(server.url, queue=queue) as client,
        ):
            daemon.wait_ready()
            handle = client.enqueue("add", 1)
            assert handle.get(PATIENCE_S) == 2
            daemon.term()
            assert daemon.wait(PATIENCE_S) == 0
        [run] = [span for span in collector.spans() if span.name == "run add"]
        assert run.attributes["messaging.message.id"] == handle.id


def test_a_worker_that_is_killed_takes_no_other_along(server: Server, tmp_path: Path) -> None:
    with Collector() as collector, DaemonProcess(
        server.url, tmp_path, modules=(TASKS,), environment=collector.environment, queues="dying", workers=1,
        max_crashes=1,
    ) as daemon, Client(server.url, queue="dying") as client:  # fmt: skip
        daemon.wait_ready()
        with pytest.raises(Exception, match="SIGKILL"):
            client.enqueue("die").get(PATIENCE_S)
        job = client.enqueue("add", 1)
        assert job.get(PATIENCE_S) == 2
        assert runs_of(collector, job.id)


def test_an_exporter_that_is_not_there_costs_a_warning_and_no_job(server: Server, tmp_path: Path) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "carrier-pigeon"}
    with (
        DaemonProcess(server.url, tmp_path, modules=(TASKS,), environment=environment, queues="pigeon") as daemon,
        Client(server.url, queue="pigeon") as client,
    ):
        line = daemon.wait_log("the environment asks for traces, and there will be none", timeout_s=PATIENCE_S)
        assert "carrier-pigeon" in line["why"]
        assert client.enqueue("add", 1).get(PATIENCE_S) == 2


def test_a_provider_of_the_task_modules_own_is_used(server: Server, collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "own_provider_tasks.py").write_text(
        "from opentelemetry import trace\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "from opentelemetry.sdk.resources import Resource\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from workd_tasks import on_worker_start, task\n"
        "@on_worker_start\n"
        "def connect():\n"
        "    provider = TracerProvider(resource=Resource.create({'service.name': 'theirs'}))\n"
        f"    exporter = OTLPSpanExporter({collector.environment['OTEL_EXPORTER_OTLP_ENDPOINT'] + '/v1/traces'!r})\n"
        "    provider.add_span_processor(SimpleSpanProcessor(exporter))\n"
        "    trace.set_tracer_provider(provider)\n"
        "@task\n"
        "def own() -> int: return 1\n"
    )
    path = os.pathsep.join([str(tmp_path), clean_environment()["PYTHONPATH"]])
    with (
        DaemonProcess(
            server.url, tmp_path, modules=("own_provider_tasks",), environment={"PYTHONPATH": path}, queues="own"
        ) as daemon,
        Client(server.url, queue="own") as client,
    ):
        daemon.wait_ready()
        job = client.enqueue("own")
        assert job.get(PATIENCE_S) == 1
        [run] = runs_of(collector, job.id)
        assert run.resource["service.name"] == "theirs"


def test_without_any_of_it_a_trace_still_goes_into_the_lines_of_the_log(server: Server, tmp_path: Path) -> None:
    with (
        DaemonProcess(server.url, tmp_path, modules=(TASKS,), queues="plain") as daemon,
        Client(server.url, queue="plain") as client,
    ):
        daemon.wait_ready()
        job = client.with_options(trace={"traceparent": traced_producer.GIVEN}).enqueue("ids")
        assert job.get(PATIENCE_S) == {}  # there are no spans
        line = daemon.wait_log("in the span")
        _, trace_id, span_id, _ = traced_producer.GIVEN.split("-")
        assert (line["trace_id"], line["span_id"]) == (trace_id, span_id)
