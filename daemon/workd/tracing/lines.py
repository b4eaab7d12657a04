"""The trace that a log line belongs to: that of the current span, or that which the job's message came with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from workd.tracing import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd_tasks.context import Context

_SIGN: Final = b'"traceparent"'
_PARTS: Final = 4  # version, trace, parent, flags; later versions may have more


def ids_of(job: Context | None) -> dict[str, str]:
    """Return `trace_id` and `span_id` as hex, or nothing."""
    if names.has_provider():
        from opentelemetry import trace

        found = trace.get_current_span().get_span_context()
        if found.is_valid:
            return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
    if job is None or _SIGN not in job._message:  # noqa: SLF001 - reading the message costs ten times as much
        return {}
    return ids_in(job.trace)


def ids_in(trace: Mapping[Any, str] | None) -> dict[str, str]:
    """Return the ids in a message's field `trace`: the span is its producer's."""
    parts = (trace or {}).get("traceparent", "").split("-")
    if len(parts) < _PARTS:
        return {}
    return {"trace_id": parts[1], "span_id": parts[2]}
