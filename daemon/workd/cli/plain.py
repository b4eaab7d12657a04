"""Text of others made harmless for a terminal: what would move the cursor, set colours or turn words around is shown.

Whoever may enqueue a job writes what an administrator's terminal shows: ids, names, errors. Pure.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROLS: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # all but tab and newline; from 0x80 on some terminals know them, too
_TURNS: Final = "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # directions of writing, and ends of lines
_SURROGATES: Final = "\ud800-\udfff"  # bytes that are no UTF-8: they cannot be written at all
_HARMFUL: Final = re.compile(f"[{_CONTROLS}{_TURNS}{_SURROGATES}]")
_NOT_IN_JSON: Final = re.compile(f"[\x7f-\x9f{_TURNS}{_SURROGATES}]")  # JSON has escaped the others already


def text(of: str) -> str:
    r"""Show each harmful character as Python writes it, `\x1b`; tabs and newlines stay."""
    return _HARMFUL.sub(_as_python, of)


def line(of: str) -> str:
    """Show text in one line, with single blanks."""
    return text(" ".join(of.split()))


def json(document: str) -> str:
    r"""Escape in a JSON document what JSON allows and a terminal obeys, as `\u009b`; its meaning stays."""
    return _NOT_IN_JSON.sub(_as_json, document)


def _as_python(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - Python's own limit


def _as_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
