"""Where JSON as pydantic and Python write it is wider than what others read: NaN, the infinities, huge integers.

Used wherever JSON is read or written for others: for a message, and for what a task returned. A silent `null`
in place of a number would be a wrong result, and NaN on the wire breaks every reader that is strict.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

from pydantic_core import from_json

MAX_DIGITS: Final = 4300  # of an integer: Python's own limit, which pydantic has too
_BLOCK: Final = MAX_DIGITS // 2


def refuse_non_finite(raw: bytes) -> None:
    """Raise `ValueError` if the valid JSON in `raw` has NaN or an infinity for a number."""
    if b"N" not in raw and b"I" not in raw:  # to look for one byte is a hundred times as fast as for a word
        return
    try:
        from_json(raw, allow_inf_nan=False, cache_strings=False)
    except ValueError:
        json.loads(raw, parse_constant=_refuse)  # says which it is


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
