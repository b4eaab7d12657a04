"""What log lines look like, for structlog and the standard library's logging alike.

The supervisor and the forkserver call `configure` once, with what every line of theirs is to carry (daemon); a
worker adds what it alone knows (its pid) with `bind`. Under systemd lines are entries of the journal, JSON where stderr
is no terminal, colours where it is. How they get there, and that nothing is ever held up by it, is `workd.output`'s.
Nothing here opens files or rotates: that is the service manager's work. The daemon's modules take their loggers from
here, so that structlog is loaded in one way alone.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from workd.output import facts, journal, printing, rendering
from workd.output.repeats import PERIOD_S, Repeats
from workd.output.secrets import Mask
from workd.output.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from structlog.typing import EventDict, Processor, WrappedLogger

    from workd_tasks.context import Context


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

LogFormat = Literal["auto", "json", "console", "journal"]
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
FLUSH_S: Final = 1.0  # at the end of the process, for what nobody has taken yet

__all__ = ["LEVELS", "LogFormat", "bind", "chosen", "configure", "dropped", "flush", "get_logger", "hide"]

_mask: Final = Mask()
_journal_target: Final = journal.JournalTarget()
_journal: Final = Sink(lambda: _journal_target)


class _State:
    """What `configure` has chosen for this process."""

    format: LogFormat = "auto"
    repeats: Repeats | None = None
    is_timed = False  # whether somebody will look for what was left out
    last: tuple[Processor, ...] = ()  # what is left to be done with a line that is to be written
    at_exit = False


_state: Final = _State()


def configure(level: str = "info", fmt: LogFormat = "auto", *, of_tasks: bool = False, **bound: object) -> None:
    """Have what is logged from now on written, each line with `bound` in it. Safe to call again.

    `of_tasks`: this is a process in which task code runs. What it says is said in full, however often, and it waits a
    little for a reader that is slow; a supervisor neither repeats itself nor ever waits.
    """
    facts.bound.clear()
    bind(**bound)
    _state.format = chosen(fmt)
    _state.repeats = None if of_tasks else Repeats()
    for sink in (_journal, *printing.sinks.values()):
        sink.waits = of_tasks
        sink.say_dropped = _say_dropped
    number = logging.getLevelNamesMapping()[level.upper()]
    first, last = _first(), _last()
    _state.last = tuple(last)
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Logger,
        cache_logger_on_first_use=False,  # a cached logger would keep the format of an earlier call
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            facts.spare_extras(structlog.stdlib.ExtraAdder()),
            structlog.stdlib.add_logger_name,
            *first,
        ],
        processors=[_without_meta, *last],
    )
    handler = _Handler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    logging.captureWarnings(capture=True)
    printing.render_with(_write_printed)
    if not (of_tasks or _state.at_exit):
        _state.at_exit = True
        atexit.register(flush)


def bind(**bound: object) -> None:
    """Have each line from now on carry this too. In a fork it costs a tenth of the memory that `configure` does."""
    facts.bound.update(bound)


def hide(secrets: Iterable[str]) -> None:
    """Have these never be read in a line of this process, whoever writes it."""
    _mask.hide(secrets)


def chosen(fmt: LogFormat) -> LogFormat:
    """Say what a format means for this process: `auto` is what its stderr is made for."""
    if fmt != "auto":
        return fmt
    if journal.is_stderr(os.environ):
        return "journal"
    return "console" if sys.stderr is not None and sys.stderr.isatty() else "json"


def dropped() -> int:
    """Return how many lines of this process were dropped since it began, because nothing took them."""
    return _journal.dropped + sum(sink.dropped for sink in printing.sinks.values())


def flush(timeout_s: float = FLUSH_S) -> None:
    """Say what was left out, and bring away what is kept, as far as somebody takes it in so long."""
    _tell_repeated(all_of_them=True)
    for sink in (_journal, *printing.sinks.values()):
        sink.flush(timeout_s)


# ── the end of the chain ────────────────────────────────────────────────────────────────────────────────────────────


class _Logger:
    """The end of structlog's chain."""

    def __init__(self, *_names: object) -> None:
        pass

    def _write(self, line: str) -> None:
        _write_line(line)

    debug = info = warning = error = critical = exception = msg = log = fatal = failure = err = warn = _write


class _Handler(logging.Handler):
    """The end of the standard library's chain."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write_line(self.format(record))
        except structlog.DropEvent:
            pass
        except Exception:  # noqa: BLE001 - logging's own rule: such a record is reported, not raised
            self.handleError(record)


def _write_line(line: str, stream: str = "stderr") -> None:
    if _state.format == "journal":
        _journal.write(_entry(line))
        return
    text = _mask.apply(line) + "\n"
    now = getattr(sys, stream)
    if isinstance(now, printing.Stream) or now is getattr(sys, f"__{stream}__"):
        printing.sinks[stream].write(text.encode("utf-8", "backslashreplace"))
    else:
        _write_to(now, text)


def _write_to(stream: Any, text: str) -> None:
    """Write to what somebody has put in the place of stderr: a test, or `contextlib.redirect_stderr`."""
    try:
        stream.write(text)
        stream.flush()
    except UnicodeEncodeError:  # half a surrogate pair; escaped like this it is JSON still
        encoding = stream.encoding or "utf-8"
        _write_to(stream, text.encode(encoding, "backslashreplace").decode(encoding))
    except (OSError, ValueError, AttributeError):  # whoever read our log is gone, or the stream is closed, or None
        pass  # no reason to stop a job


def _write_printed(stream: str, line: str, job: Context | None) -> None:
    """Write a line that was printed, as if it had been logged."""
    _write_line(_finished({"event": line, "level": "info", "stream": stream, **facts.job_fields(job)}), stream)


def _say_dropped(count: int) -> bytes:
    """Make the line that stands for lines that nothing took."""
    text = "lines of the log were dropped here: nothing took them"
    line = _finished({"event": text, "level": "warning", "dropped": count, rendering.OWN: ("dropped",)})
    return _entry(line) if _state.format == "journal" else f"{line}\n".encode("utf-8", "backslashreplace")


def _finished(event: EventDict) -> str:
    """Do with a line what is done last with each."""
    rendered: Any = event
    for processor in _state.last:
        rendered = processor(None, str(event.get("level")), rendered)
    return str(rendered)


# ── the chain ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _first() -> list[Processor]:
    """List the processors that every logged line passes at first; what a line says itself wins."""
    note: list[Processor] = [facts.note_own] if _state.format == "journal" else []
    return [
        facts.spare_names,
        *note,
        structlog.contextvars.merge_contextvars,
        facts.add_job,
        structlog.processors.add_log_level,
        _limit,
    ]


def _without_meta(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take away what logging's records bring along; the record itself says an entry of the journal where it is from."""
    event.pop("_from_structlog", None)
    if _state.format != "journal":
        event.pop("_record", None)
    return event


def _last() -> list[Processor]:
    """List what is done with every line that is to be written."""
    rest: list[Processor] = [structlog.processors.TimeStamper(fmt="iso", utc=True), facts.add_bound]
    match _state.format:
        case "journal":
            return [*rest, structlog.processors.format_exc_info, _render_journal]
        case "console":
            colors = sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
            plain = structlog.dev.plain_traceback  # also where a task module has loaded rich
            return [*rest, facts.without_own, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
        case _:
            return [*rest, facts.without_own, structlog.processors.format_exc_info, _render_json]


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return rendering.to_json(event)


def _render_journal(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Return the bytes of an entry in the guise of text, which is what logging passes on."""
    return rendering.to_journal(event, _mask.apply).decode("utf-8", "surrogateescape")


def _entry(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape")


# ── repeated warnings ───────────────────────────────────────────────────────────────────────────────────────────────


def _limit(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    repeats = _state.repeats
    if repeats is None:
        return event
    if not repeats.admit(method, event):
        _have_it_told_in_time()
        raise structlog.DropEvent
    for level, fields in repeats.crowded_out():
        _relog(level, fields)
    return event


def _have_it_told_in_time() -> None:
    """Look again when the time of what is left out has come; where there is no loop, the end of the process does."""
    asyncio = sys.modules.get("asyncio")
    if _state.is_timed or asyncio is None:
        return
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop().call_later(PERIOD_S, _look_again)
        _state.is_timed = True


def _look_again() -> None:
    _state.is_timed = False
    _tell_repeated()
    if _state.repeats is not None and _state.repeats.is_holding:
        _have_it_told_in_time()


def _tell_repeated(*, all_of_them: bool = False) -> None:
    if _state.repeats is not None:
        for level, fields in _state.repeats.overdue(all_of_them=all_of_them):
            _relog(level, fields)


def _relog(level: str, event: EventDict) -> None:
    """Write a line that was left out, with the time of now."""
    _write_line(_finished({"level": level, **event}))
