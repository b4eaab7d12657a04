"""Traces, as far as one process can show it."""

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from workd.output import facts
from workd.tracing import names, provider
from workd.tracing.lines import ids_in, ids_of
from workd.tracing.running import _run_span, due_s, outcome_of
from workd.tracing.sending import Sent, sending
from workd.tracing.wanted import exporters
from workd_tasks import Reject, Retry, SoftTimeout
from workd_tasks.context import Context

TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """A provider for this test alone: the global one can be set only once in a process."""
    exporter = InMemorySpanExporter()
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: made)
    return exporter


def context_with(message: bytes, **more: Any) -> Context:
    return Context("1-0", "resize", queue="images", _message=message, **more)


@pytest.mark.parametrize(
    ("environ", "names_"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "x"}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": " otlp , console "}, ["otlp_proto_http", "console"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
         ["otlp_proto_grpc"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "True"}, []),
    ],
)  # fmt: skip
def test_the_environment_says_whether_there_are_traces_and_where_they_go(
    environ: dict[str, str], names_: list[str]
) -> None:
    assert exporters(environ) == names_


def test_an_exporter_that_is_not_installed_is_named() -> None:
    found, trouble = provider.load({"OTEL_TRACES_EXPORTER": "pigeon"})
    assert found == []
    assert "'pigeon'" in trouble
    assert "otlp_proto_http" in trouble


def test_without_the_api_nothing_is_loaded_and_nobody_is_asked() -> None:
    code = (
        "import sys; from workd.tracing import names, lines, sending, wanted; assert not names.has_provider();"
        " assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_an_api_without_a_provider_is_nobody_who_wants_spans() -> None:
    assert not names.has_provider()


def test_messages_get_the_trace_of_the_span_they_are_sent_in(kept: InMemorySpanExporter) -> None:
    with sending("resize", "images", 2) as sent:
        marked = sent.marked([b'{"task":"resize"}', b'{"task":"resize","args":[1]}'])
        sent.became(["1-0", "1-1"])
    [span] = kept.get_finished_spans()
    parent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"
    assert marked[1] == b'{"task":"resize","args":[1],"trace":{"traceparent": "' + parent.encode() + b'"}}'
    assert (span.attributes or {})["messaging.batch.message_count"] == 2


def test_messages_stay_as_they_are_where_no_span_is_recorded() -> None:
    message = b'{"task":"resize"}'
    assert Sent(None, {}).marked([message]) == [message]


def test_what_sending_raises_is_recorded_once(kept: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="no"), sending("resize", "images"):
        raise ValueError("no")
    [span] = kept.get_finished_spans()
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert not span.status.is_ok


class BrokenError(Exception):
    """One that breaks whoever looks at it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_stays_what_a_run_ends_with(kept: InMemorySpanExporter) -> None:
    error = BrokenError()
    run = _run_span(context_with(b"{}"))
    next(run)
    with pytest.raises(BrokenError) as raised:
        run.throw(error)
    assert raised.value is error
    [span] = kept.get_finished_spans()
    assert str((span.attributes or {})["error.type"]).endswith("BrokenError")
    assert span.status.description == "BrokenError"
    with pytest.raises(BrokenError), sending("resize", "images"):
        raise error


class BrokenProcessor(SimpleSpanProcessor):
    """Somebody's own, which fails when a span begins, or when it ends."""

    def __init__(self, when: str) -> None:
        super().__init__(InMemorySpanExporter())
        self._when = when

    def on_start(self, *_: Any, **__: Any) -> None:
        if self._when == "start":
            raise RuntimeError("no place")

    def on_end(self, *_: Any) -> None:
        if self._when == "end":
            raise RuntimeError("no place")


@pytest.mark.parametrize("when", ["start", "end"])
def test_a_provider_that_fails_costs_spans_and_no_run(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    made = TracerProvider()
    made.add_span_processor(BrokenProcessor(when))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: made)
    run = _run_span(context_with(b"{}", delivery=2))
    next(run)
    with pytest.raises(StopIteration):
        run.send("value")
    run = _run_span(context_with(b"{}", delivery=2))
    next(run)
    with pytest.raises(KeyError, match="mine"):
        run.throw(KeyError("mine"))
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_redelivered_job_has_no_second_wait(kept: InMemorySpanExporter) -> None:
    for delivery in (1, 2):
        run = _run_span(context_with(b"{}", delivery=delivery, enqueued_at=1000.0))
        next(run)
        with pytest.raises(StopIteration):
            next(run)
    assert [span.name for span in kept.get_finished_spans()] == ["wait resize", "run resize", "run resize"]
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(
    ("message", "due"),
    [
        (b"{}", 1000.0),
        (b'{"run_at":2000.5}', 2000.5),
        (b'{"run_at":500}', 1000.0),
        (b'{"run_at":"1970-01-01t00:33:20z"}', 2000.0),
    ],
)
def test_a_job_waits_since_it_was_to_be_run(message: bytes, due: float) -> None:
    assert due_s(context_with(message, enqueued_at=1000.0)) == due


def test_ends_of_runs_have_names() -> None:
    errors = (Retry(), Reject("no"), SoftTimeout(), ValueError())
    assert [outcome_of(error) for error in errors] == ["retry", "rejected", "timeout", "failed"]


def test_lines_have_the_ids_of_the_span_or_of_the_message(kept: InMemorySpanExporter) -> None:
    job = context_with(b'{"trace":{"traceparent":"' + TRACEPARENT.encode() + b'"}}')
    _, trace_id, span_id, _ = TRACEPARENT.split("-")
    assert ids_of(job) == {"trace_id": trace_id, "span_id": span_id}
    with names.tracer().start_as_current_span("mine") as span:
        found = span.get_span_context()
        assert ids_of(job) == {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
    assert ids_of(context_with(b'{"args":["no trace"]}')) == ids_of(None) == {}


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {"tracestate": "a=b"},
        *(
            {"traceparent": text}
            for text in (
                "rubbish",
                "a-b-c-d",
                f"{TRACEPARENT}\n",
                TRACEPARENT.upper(),
                f"ff{TRACEPARENT[2:]}",
                f"00-{'0' * 32}-0123456789abcdef-01",
                f"00-0123456789abcdef0123456789abcdef-{'0' * 16}-01",
                f"00-{'a' * 1_000_000}-0123456789abcdef-01",
            )
        ),
    ],
)
def test_a_trace_that_is_none_is_left_out(said: dict[str, str] | None) -> None:
    assert ids_in(said) == {}


def test_a_later_version_of_a_trace_may_say_more() -> None:
    assert ids_in({"traceparent": f"01{TRACEPARENT[2:]}-more"}) == ids_in({"traceparent": TRACEPARENT}) != {}


def test_what_knows_the_trace_is_asked_for_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "trace_ids", [lambda _: {"trace_id": "ab"}])
    assert facts.job_fields(None) == {"trace_id": "ab"}
