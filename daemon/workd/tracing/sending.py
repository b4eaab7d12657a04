"""The span of sending jobs, and how its context comes into their messages.

Used by the clients, which ask `has_provider` first: a program without OpenTelemetry pays for one look into a dict. Who
gives a `trace` of his own has it sent as it is, and no span of ours.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from workd.tracing import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Sent:
    """Jobs that are being sent; `carrier` is what their messages are to have as `trace`, or nothing."""

    def __init__(self, span: Any, carrier: dict[str, str]) -> None:
        """`span` is the one that is current."""
        self._span = span
        self.carrier = carrier

    def marked(self, messages: Sequence[bytes]) -> Sequence[bytes]:
        """Return messages, which have no `trace` yet, with the one of this span."""
        if not self.carrier:
            return messages
        tail = b',"trace":' + json.dumps(self.carrier).encode() + b"}"
        return [message[:-1] + tail for message in messages]

    def into(self, queue: str, count: int) -> None:
        """Say where the jobs went and how many they were, where that was not known before."""
        self._span.set_attribute(names.DESTINATION, queue)
        self._span.set_attribute(names.BATCH_COUNT, count)

    def became(self, job_ids: Sequence[str]) -> None:
        """Say which jobs the messages have become."""
        if len(job_ids) == 1:
            self._span.set_attribute(names.MESSAGE_ID, job_ids[0])


@contextlib.contextmanager
def sending(task: str, queue: str, count: int = 1) -> Iterator[Sent]:
    """Be in the span of sending so many jobs; an exception is recorded in it, and raised."""
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    attributes: dict[str, str | int] = {
        names.SYSTEM: names.WORKD,
        names.OPERATION_TYPE: "send",
        names.OPERATION_NAME: "send",
        names.DESTINATION: queue,
        names.TASK: task,
    }
    if count > 1:
        attributes[names.BATCH_COUNT] = count
    with names.tracer().start_as_current_span(
        f"send {task}",
        kind=SpanKind.PRODUCER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        try:
            yield Sent(span, carrier)
        except BaseException as error:
            fail(span, error)
            raise


def fail(span: Any, error: BaseException) -> None:
    """Record in a span what it ended with, as far as that can be told: exceptions have code of their own."""
    from opentelemetry.trace import Status, StatusCode

    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = kind.__name__
    span.set_attribute(names.ERROR_TYPE, name)
    with contextlib.suppress(Exception):  # a `__str__` that raises, most likely
        text = f"{text}: {error}"
        span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, text))
