"""Where JSON as pydantic and Python write it is wider than what others read: NaN, the infinities, huge integers, depth.

Used wherever JSON is read or written for others: for a message, and for what a task returned. A silent `null`
in place of a number would be a wrong result, and NaN on the wire breaks every reader that is strict.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

from pydantic_core import from_json

MAX_DIGITS: Final = 4300  # of an integer: Python's own limit, which pydantic has too
MAX_DEPTH: Final = 200  # of lists and objects in each other inside an outcome or a list: pydantic's own limit, less one
_BLOCK: Final = MAX_DIGITS // 2
_PEELS: Final = 16
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_LOOKS: Final = 8
_SHORT_BYTES: Final = 4096  # of a text: to parse it costs less than to look twice


def refuse_unreadable(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` is none that all readers take, for any of the reasons below."""
    refuse_non_finite(raw)
    if len(raw) > 2 * MAX_DEPTH:  # what is shorter has neither: most messages, and this is looked at for each of them
        refuse_huge_integers(raw)
        refuse_deep(raw)


def refuse_non_finite(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` has NaN or an infinity for a number."""
    if not (_may_have(raw, b"N", b"NaN") or _may_have(raw, b"I", b"Infinity")):
        return
    try:
        from_json(raw, allow_inf_nan=False)  # ten times as fast as the search for a word
    except ValueError:  # or an integer that it does not take, which is another's business
        json.loads(raw, parse_constant=_refuse, parse_int=len)


def _may_have(raw: bytes, letter: bytes, word: bytes) -> bool:
    """Look for `word`, which may be a part of a string, by its first letter: that is found at the speed of memory.

    Where there are many of that letter, nobody knows.
    """
    at = raw.find(letter)
    if at < 0 or len(raw) <= _SHORT_BYTES:
        return at >= 0
    for _ in range(_LOOKS):
        if at < 0 or raw.startswith(word, at):
            return at >= 0
        at = raw.find(letter, at + 1)
    return at >= 0


def refuse_huge_integers(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` has an integer with more digits than readers take."""
    if len(raw) <= MAX_DIGITS:
        return
    # A run of digits that long fills one of these blocks, wherever it starts. It may still be part of a string.
    blocks = (raw[start : start + _BLOCK] for start in range(0, len(raw) - _BLOCK + 1, _BLOCK))
    if any(map(bytes.isdigit, blocks)):
        json.loads(raw, parse_int=_check_digits)


def refuse_deep(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` is nested deeper than readers follow, with one level around it."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    brackets = raw.translate(None, _NO_BRACKETS)
    for _ in range(_PEELS):  # what is rather flat, as nearly all is, comes off quickly; brackets in strings may stay
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return
    try:
        from_json(b"[" + raw + b"]")
    except ValueError as error:
        if "recursion" not in str(error):
            return  # another's business
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep, flatten it") from None


def _check_digits(number: str) -> None:
    digits = len(number.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise ValueError(
            f"an integer of {digits:,} digits is more than readers of JSON take ({MAX_DIGITS:,}), send a string instead"
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number, send null or a string instead")
