"""What spans and attributes are called. Source: OpenTelemetry's semantic conventions for messaging, version 1.27 on."""

from __future__ import annotations

import sys
from typing import Any, Final

SYSTEM: Final = "messaging.system"
OPERATION_TYPE: Final = "messaging.operation.type"
OPERATION_NAME: Final = "messaging.operation.name"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
CLIENT_ID: Final = "messaging.client.id"
CONSUMER_GROUP: Final = "messaging.consumer.group.name"
BATCH_COUNT: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"
TASK: Final = "workd.task"
ATTEMPT: Final = "workd.attempt"
DELIVERY: Final = "workd.delivery"
OUTCOME: Final = "workd.outcome"

WORKD: Final = "workd"
SCOPE: Final = "workd"
"""The name under which our spans are recorded, for samplers and filters."""

_API: Final = "opentelemetry.trace"


def tracer() -> Any:
    """Return what makes our spans; of a process without a provider it makes none that are recorded."""
    from opentelemetry import trace

    return trace.get_tracer(SCOPE)


def has_provider() -> bool:
    """Say whether spans go anywhere in this process.

    That the API is loaded says nothing: redis-py loads it wherever it is installed.
    """
    trace = sys.modules.get(_API)
    if trace is None:
        return False
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))
