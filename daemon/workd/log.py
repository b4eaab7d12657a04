"""Where log lines go and what they look like, for structlog and the standard library's logging alike.

The supervisor and the forkserver call `configure` once, with what every line of theirs is to carry (daemon); a
worker adds what it alone knows (its pid) with `bind`. JSON when stderr is not a terminal, colours when it is. A line
is written with one write, so that lines of several processes on one stderr never mix. Nothing here opens files or
rotates: that is the service manager's work. The daemon's modules take their loggers from here, so that structlog is
loaded in one way alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from workd_tasks.context import current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict, Processor, WrappedLogger


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Have an import of a module find that it is not installed, unless it is loaded already.

    Source: the module cache, in the language reference's chapter on imports.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the documented way to say so
    try:
        yield
    finally:
        del sys.modules[module]


# Where rich is installed, structlog loads it for tracebacks that we do not use: 4 MB in the supervisor and as much in
# the forkserver. Task modules that import structlog themselves are loaded before this one, and have all of it.
with _without("rich"):
    import structlog
    from structlog import get_logger

LogFormat = Literal["auto", "json", "console"]
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

__all__ = ["LEVELS", "LogFormat", "bind", "configure", "get_logger", "is_json"]

_bound: Final[dict[str, object]] = {}  # what every line of this process carries


def configure(level: str = "info", fmt: LogFormat = "auto", **bound: object) -> None:
    """Send what is logged from now on to stderr, each line with `bound` in it. Safe to call again."""
    _bound.clear()
    bind(**bound)
    number = logging.getLevelNamesMapping()[level.upper()]
    rendering = _rendering(fmt)
    shared = _shared()
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_StderrLogger,
        cache_logger_on_first_use=False,  # a cached logger would keep the format of an earlier call
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = _StderrHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    logging.captureWarnings(capture=True)


def bind(**bound: object) -> None:
    """Have each line from now on carry this too. In a fork it costs a tenth of the memory that `configure` does."""
    _bound.update(bound)


def is_json(fmt: LogFormat) -> bool:
    """Tell whether lines are written as JSON: when asked for, or when nobody reads them on a terminal."""
    return fmt == "json" or (fmt == "auto" and not sys.stderr.isatty())


class _StderrLogger:
    """The end of structlog's chain: one line, one write, to the stderr of this moment."""

    def __init__(self, *_names: object) -> None:
        pass

    def _write(self, line: str) -> None:
        _write_line(line)

    debug = info = warning = error = critical = exception = msg = log = fatal = failure = err = warn = _write


class _StderrHandler(logging.Handler):
    """The end of the standard library's chain."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write_line(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: such a record is reported, not raised
            self.handleError(record)


def _write_line(line: str) -> None:
    stream = sys.stderr
    try:
        stream.write(line + "\n")
        stream.flush()
    except UnicodeEncodeError:  # half a surrogate pair; escaped like this it is JSON still
        encoding = stream.encoding or "utf-8"
        _write_line(line.encode(encoding, "backslashreplace").decode(encoding))
    except (BrokenPipeError, ValueError):  # whoever read our log is gone, or the stream is closed
        pass  # no reason to stop a job


def _shared() -> list[Processor]:
    """List the processors that every line passes before it is rendered; what a line says itself wins."""
    return [
        structlog.contextvars.merge_contextvars,
        _add_job,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_bound,
    ]


def _add_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in _bound.items():
        event.setdefault(name, value)
    return event


def _add_job(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say for which job a line is written, whoever writes it: a task, a library that it calls, or Python's warnings."""
    if (job := current.get(None)) is not None:
        event.setdefault("job_id", job.id)
        event.setdefault("task", job.task)
        event.setdefault("delivery", job.delivery)
        event.setdefault("attempt", job.attempt)
    return event


def _rendering(fmt: LogFormat) -> list[Processor]:
    if is_json(fmt):
        return [structlog.processors.format_exc_info, _render_json]
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    plain = structlog.dev.plain_traceback  # also where a task module has loaded rich
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


_FIRST: Final = ("timestamp", "level", "event")


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Write the line with its time, level and event first; whatever is logged, this ends in a line."""
    ordered: dict[str, Any] = {name: event.pop(name) for name in _FIRST if name in event}
    for name, value in event.items():
        ordered[str(name)] = value
    try:
        return json.dumps(ordered, default=repr, ensure_ascii=False)
    except (TypeError, ValueError):  # keys that are no strings, or an object that holds itself
        return json.dumps({name: repr(value) for name, value in ordered.items()}, ensure_ascii=False)
