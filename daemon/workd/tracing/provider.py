"""Where a worker's spans go: what OTEL_… in the environment says, as every program with OpenTelemetry reads it.

Modules are loaded in the forkserver, once for all workers. The provider, its exporter and the thread that sends are
made in each worker, after the fork: they do not survive one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from workd.tracing import names
from workd.tracing.wanted import exporters

if TYPE_CHECKING:
    from collections.abc import Mapping

_GROUP: Final = "opentelemetry_traces_exporter"


def load(environ: Mapping[str, str] = os.environ) -> tuple[list[Any], str]:
    """Import what the environment asks for; return the exporters' classes, and what is wrong if something is."""
    wanted = exporters(environ)
    if not wanted:
        return [], ""
    try:
        import opentelemetry.sdk.trace.export  # noqa: F401 - here, so that workers share it
    except ImportError as error:
        return [], f"{error}: pip install 'workd[otel]'"
    from importlib.metadata import entry_points

    known = {point.name: point for point in entry_points(group=_GROUP)}
    if missing := [name for name in wanted if name not in known]:
        return [], f"no exporter of traces is called {missing[0]!r} here; there are: {', '.join(sorted(known))}"
    try:
        return [known[name].load() for name in wanted], ""
    except Exception as error:  # noqa: BLE001 - others' code; without traces the jobs run all the same
        return [], f"{type(error).__name__}: {error}"


def install(exporter_classes: list[Any], daemon_id: str, slot: int) -> Any:
    """Make the provider of this worker, unless the task modules have made theirs; return it, or None."""
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if names.has_provider():
        return None
    known = Resource.create().attributes
    ours: dict[str, Any] = {SERVICE_INSTANCE_ID: f"{daemon_id}/{slot}"}
    if str(known.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        ours[SERVICE_NAME] = names.WORKD
    provider = TracerProvider(resource=Resource.create(ours))
    for make in exporter_classes:
        provider.add_span_processor(BatchSpanProcessor(make()))
    trace.set_tracer_provider(provider)
    return provider
