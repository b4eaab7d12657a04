"""How the facts of a line become bytes: JSON for programs, or an entry of the journal. Colours are structlog's.

Whatever is logged, this ends in a line.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from workd.output.journal import PRIORITIES, encode, field_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

_FIRST: Final = ("timestamp", "level", "event")
OWN: Final = "_own"
"""Under this key an entry of the journal has the names of what its line itself said; what others added is not shown."""
_RECORD: Final = "_record"
_NOT_FIELDS: Final = frozenset({"event", "level", "timestamp", "exception", "stack", OWN, _RECORD, "_from_structlog"})
_SKIPPED_MODULES: Final = ("structlog", "logging", "workd.log", "workd.output")


def to_json(event: MutableMapping[str, Any]) -> str:
    """Write a line with its time, level and event first."""
    ordered: dict[str, Any] = {name: event.pop(name) for name in _FIRST if name in event}
    for name, value in event.items():
        ordered[str(name)] = value
    try:
        return json.dumps(ordered, default=repr, ensure_ascii=False)
    except (TypeError, ValueError):  # keys that are no strings, or an object that holds itself
        return json.dumps({name: repr(value) for name, value in ordered.items()}, ensure_ascii=False)


def to_journal(event: MutableMapping[str, Any], mask: Callable[[str], str]) -> bytes:
    """Write an entry: what people read as MESSAGE, all else as fields. `mask` hides what no value is to show."""
    return encode((name, mask(value)) for name, value in _fields(event))


def _fields(event: MutableMapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", _message(event)
    yield "PRIORITY", str(PRIORITIES.get(str(event.get("level")), 6))
    yield "SYSLOG_IDENTIFIER", "workd"
    yield from _place(event)
    for name, value in event.items():
        if name not in _NOT_FIELDS and value is not None:
            yield field_name(str(name)), _text(value)


def _message(event: MutableMapping[str, Any]) -> str:
    """Return what `journalctl` shows: the event, what it said of itself, and the traceback."""
    own = event.get(OWN, ())
    facts = [f"{name}={_shown(event[name])}" for name in own if event.get(name) is not None]
    lines = [" ".join((_text(event.get("event", "")), *facts))]
    lines += [_text(event[name]) for name in ("stack", "exception") if event.get(name)]
    return "\n".join(lines)


def _shown(value: object) -> str:
    text = _text(value)
    return text if text and text.isprintable() and not set(text) & {" ", '"', "="} else json.dumps(text)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=repr, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _place(event: MutableMapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say where in the code a line was written: logging knows it, of others the stack is looked at."""
    if (record := event.get(_RECORD)) is not None:
        found = (record.pathname, record.lineno, record.funcName)
    elif "stream" in event:
        return  # it was printed: the place is somewhere in `print`
    else:
        found = _caller()
    yield "CODE_FILE", str(found[0])
    yield "CODE_LINE", str(found[1])
    yield "CODE_FUNC", str(found[2])


def _caller() -> tuple[str, int, str]:
    frame = sys._getframe(1)  # noqa: SLF001 - documented, and what logging itself does
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(_SKIPPED_MODULES):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
