"""What a line carries beside what it says itself: the process, the job, the trace.

Functions over a line's facts, which structlog calls processors; who loads structlog is `workd.log` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from workd.output import printing
from workd.output.rendering import OWN

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from workd_tasks.context import Context

    EventDict = MutableMapping[str, Any]

bound: Final[dict[str, object]] = {}
"""What every line of this process carries."""

trace_ids: Final[list[Callable[[Context | None], dict[str, str]]]] = []
"""What knows the trace that a line belongs to, if anything does: see `workd.tracing`."""


_OURS: Final = ("timestamp", "level")
_OURS_IN_RECORDS: Final = frozenset({"event", "logger", "_record", "_from_structlog"})


def spare_names(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Give fields whose names a line has for itself an underscore more, so that neither is lost; to be called first."""
    for name in _OURS:
        if name in event:
            event[f"{name}_"] = event.pop(name)
    return event


def spare_extras(add: Callable[[Any, str, EventDict], EventDict]) -> Callable[[Any, str, EventDict], EventDict]:
    """Do the same for what a record of logging has as `extra`; `add` is what takes it out of the record."""

    def add_extras(logger: Any, method: str, event: EventDict) -> EventDict:
        record = event["_record"]
        found = add(logger, method, {"_record": record})
        if found["_record"] is record:
            del found["_record"]
        for name, value in found.items():
            event[f"{name}_" if name in _OURS_IN_RECORDS else name] = value
        return event

    return add_extras


def add_bound(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Say which process it is."""
    for name, value in bound.items():
        event.setdefault(name, value)
    return event


def add_job(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Say for which job a line is written, whoever writes it: a task, a library that it calls, or Python's warnings."""
    job = printing.job()
    for name, value in job_fields(job).items():
        event.setdefault(name, value)
    return event


def job_fields(job: Context | None) -> dict[str, Any]:
    """Return what a line says of its job, and of its trace."""
    fields: dict[str, Any] = {}
    if job is not None:
        fields = {"job_id": job.id, "task": job.task, "delivery": job.delivery, "attempt": job.attempt}
        if job.queue:
            fields["queue"] = job.queue
    for know in trace_ids:
        fields |= know(job)
    return fields


def note_own(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Note what a line says itself, before anything is added to it; a task's logger says the job by itself."""
    others = {"event", "exc_info", "stack_info", "logger", *job_fields(printing.job())}
    event[OWN] = tuple(name for name in event if name not in others and not name.startswith("_"))
    return event


def without_own(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Take away what is noted for entries of the journal alone."""
    event.pop(OWN, None)
    return event
