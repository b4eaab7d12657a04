"""The spans of a job's wait and of its run, made in the worker: a hook around tasks, as users write them.

It is registered in workers where spans go somewhere, and nowhere else: all others pay nothing, not even for asking.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from workd.tracing import names, provider
from workd.tracing.sending import fail
from workd_tasks import hooks
from workd_tasks.errors import Reject, Retry, SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Generator

    from workd_tasks.context import Context

_NS: Final = 1_000_000_000


class Tracing:
    """What one worker does about traces. Made before the fork, by what the environment says."""

    def __init__(self, daemon_id: str) -> None:
        """Load what is asked for; `trouble` says why there is nothing to be done, if something was asked for."""
        self._daemon_id = daemon_id
        self._exporters, self.trouble = provider.load()

    def begin(self, slot: int) -> str:
        """Have spans of this worker go where they should, before the first line of user code; return what is wrong."""
        if not self._exporters:
            return ""
        try:
            made = provider.install(self._exporters, self._daemon_id, slot)
        except Exception as error:  # noqa: BLE001 - others' code, others' variables; the jobs run all the same
            return f"{type(error).__name__}: {error}"
        if made is not None:
            hooks.stops.insert(0, hooks.Hook(made.shutdown, _run_span))  # the first that is registered ends last
        return ""


def join_in() -> None:
    """Make spans from now on: there is a provider, ours, or one that user code has made."""
    hooks.around.insert(0, hooks.Hook(_run_span, _run_span))


def _run_span(job: Context) -> Generator[None, Any, None]:
    """Be in the span of a run. A provider that fails costs the span, never the job."""
    from opentelemetry import context

    span = token = None
    with suppress(Exception):  # samplers and processors may be the user's own
        span, around = _begin(job)
        token = context.attach(around)
    try:
        yield
    except BaseException as error:
        with suppress(Exception):
            _end(span, error)
        raise
    else:
        with suppress(Exception):
            _end(span)
    finally:
        if token is not None:
            context.detach(token)


def _begin(job: Context) -> tuple[Any, Any]:
    """Make the span of the wait, and begin that of the run; return it with the context that it is current in."""
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract(job.trace)
    tracer, facts = names.tracer(), _facts(job)
    now_ns = time.time_ns()
    if job.delivery == 1 and job.enqueued_at:
        began_ns = min(now_ns, int(due_s(job) * _NS))
        waited = tracer.start_span(
            f"wait {job.task}", parent, SpanKind.INTERNAL, facts | {names.OPERATION_NAME: "wait"}, start_time=began_ns
        )
        waited.end(now_ns)
    more = {names.OPERATION_TYPE: "process", names.OPERATION_NAME: "run"}
    span = tracer.start_span(f"run {job.task}", parent, SpanKind.CONSUMER, facts | more, start_time=now_ns)
    return span, set_span_in_context(span, parent)


def _end(span: Any, error: BaseException | None = None) -> None:
    """End the span of a run, with what it raised if it did."""
    if span is None:
        return
    try:
        span.set_attribute(names.OUTCOME, "succeeded" if error is None else outcome_of(error))
        if error is not None and not isinstance(error, Retry):  # which a task says on purpose
            fail(span, error)
    finally:
        span.end()


def _facts(job: Context) -> dict[str, str | int]:
    return {
        names.SYSTEM: names.WORKD,
        names.DESTINATION: job.queue,
        names.MESSAGE_ID: job.id,
        names.CLIENT_ID: job.daemon,
        names.CONSUMER_GROUP: names.WORKD,
        names.TASK: job.task,
        names.ATTEMPT: job.attempt,
        names.DELIVERY: job.delivery,
    }


def due_s(job: Context) -> float:
    """Return since when a job waits, in epoch seconds: since it was enqueued, or was to be run."""
    run_at: Any = job._field("run_at")  # noqa: SLF001 - what few ask for is no part of a context's face
    if isinstance(run_at, str):
        run_at = datetime.fromisoformat(run_at.upper()).timestamp()
    return max(job.enqueued_at, run_at or 0.0)


def outcome_of(error: BaseException) -> str:
    """Name the end of a run that raised: what becomes of the job then, the daemon decides."""
    match error:
        case Retry():
            return "retry"
        case Reject():
            return "rejected"
        case SoftTimeout():
            return "timeout"
        case _:
            return "failed"
