"""Where JSON as pydantic and Python write it is wider than what others read: NaN, the infinities, huge integers.

Used wherever JSON is read or written for others: for a message, and for what a task returned. A silent `null`
in place of a number would be a wrong result, and NaN on the wire breaks every reader that is strict.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

MAX_DIGITS: Final = 4300  # of an integer: Python's own limit, which pydantic has too
_BLOCK: Final = MAX_DIGITS // 2
_LOOKS: Final = 16


def refuse_non_finite(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` has NaN or an infinity for a number."""
    if _has(raw, b"N", b"NaN") or _has(raw, b"I", b"Infinity"):  # may still be part of a string
        json.loads(raw, parse_constant=_refuse, parse_int=len)


def _has(raw: bytes, letter: bytes, word: bytes) -> bool:
    """Look for `word` by its first letter: one letter is found a hundred times as fast, unless there are many of it."""
    at = raw.find(letter)
    for _ in range(_LOOKS):
        if at < 0 or raw.startswith(word, at):
            return at >= 0
        at = raw.find(letter, at + 1)
    return word in raw


def refuse_huge_integers(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` has an integer with more digits than readers take."""
    if len(raw) <= MAX_DIGITS:
        return
    # A run of digits that long fills one of these blocks, wherever it starts. It may still be part of a string.
    blocks = (raw[start : start + _BLOCK] for start in range(0, len(raw) - _BLOCK + 1, _BLOCK))
    if any(map(bytes.isdigit, blocks)):
        json.loads(raw, parse_int=_check_digits)


def _check_digits(number: str) -> None:
    digits = len(number.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise ValueError(
            f"an integer of {digits:,} digits is more than readers of JSON take ({MAX_DIGITS:,}), send a string instead"
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number, send null or a string instead")
