"""The trace that a log line belongs to: that of the current span, or that which the job's message came with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from workd.tracing import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd_tasks.context import Context

_SIGN: Final = b'"traceparent"'
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII
)
"""Version, trace, parent, flags; later versions may have more. Source: W3C Trace Context, the header `traceparent`."""


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
    """Return the ids in a message's field `trace`: the span is its producer's. What is none goes into no line."""
    found = _TRACEPARENT.fullmatch((trace or {}).get("traceparent", ""))
    return {"trace_id": found[1], "span_id": found[2]} if found is not None else {}
