"""Pieces of a Markdown page, and numbers as people read them. Pure; used by the sections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WHOLE_FROM = 1_000  # from there on decimals are noise
DIGITS = 4
_NUMBER = re.compile(r"(-|[\d.,]+( \([\d., to]+\))?( [^ ]+)?)?")  # with its range and its unit


def number(value: float | None) -> str:
    """Write a number with the digits that mean something; a dash for what was not measured."""
    if value is None:
        return "-"
    if abs(value) >= WHOLE_FROM:
        return f"{value:,.0f}"
    return f"{value:.{DIGITS}g}"


def ranged(median: float, low: float, high: float) -> str:
    """Write a median with its range, if that is one."""
    texts = [number(value) for value in (median, low, high)]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]} to {texts[2]})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; columns that hold numbers alone are aligned right."""
    kept = [list(row) for row in rows]
    right = [all(_is_number(row[index]) for row in kept) for index in range(len(head))]
    rule = ["---:" if one else "---" for one in right]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *kept)] + [""]


def image(name: str, words: str) -> list[str]:
    """Return the lines that show a plot."""
    return [f"![{words}](benchmarks/{name})", ""]


def _is_number(text: str) -> bool:
    """Say whether a cell holds a number, a dash for a missing one, or nothing."""
    return _NUMBER.fullmatch(text) is not None
