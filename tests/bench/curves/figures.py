"""The result of a measurement: values over rounds, with a unit, a place on a curve and a goal. JSON in and out.

Every curve yields `Figure`s; `__main__` prints and saves them, `bench.report` reads the file.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

MAX_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Goal:
    """What a median must reach."""

    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, median: float) -> bool:
        """Say whether a median is within the goal, at the precision that is shown."""
        if self.at_most is not None:
            return median <= self.at_most
        return self.at_least is None or median >= self.at_least

    def __str__(self) -> str:
        """Spell it as people write it."""
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity at one point of a curve."""

    curve: str
    what: str
    unit: str
    values: tuple[float, ...]
    """One for each round."""
    at: float = 0.0
    """Where on the curve, in `at_unit`."""
    at_unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        return None if self.goal is None else self.goal.is_met(self.median)

    def as_json(self) -> dict[str, Any]:
        """Return what is written into the file."""
        return {
            "curve": self.curve,
            "what": self.what,
            "at": self.at,
            "at_unit": self.at_unit,
            "unit": self.unit,
            "median": rounded(self.median),
            "low": rounded(min(self.values)),
            "high": rounded(max(self.values)),
            "values": [rounded(value) for value in self.values],
            "goal": None if self.goal is None else str(self.goal),
            "met": self.met,
            "note": self.note,
        }

    def __str__(self) -> str:
        """Return one line for a terminal."""
        place = f"{self.at:,.10g} {self.at_unit}" if self.at_unit else ""
        spread = f"{shown(self.median)} {self.unit} ({shown(min(self.values))} to {shown(max(self.values))})"
        verdict = "" if self.goal is None else f"  goal {self.goal}{'' if self.met else '  ◀ missed'}"
        return f"{self.curve:10} {place:>16}  {self.what:46} {spread}{verdict}{'  ' if self.note else ''}{self.note}"


def rounded(value: float) -> float:
    """Keep the digits that mean something."""
    return float(f"{value:.{MAX_DIGITS + 1}g}")


def shown(value: float) -> str:
    """Write a number for people: thousands separated, small ones with digits."""
    if abs(value) >= 1_000:  # beyond it decimals are noise
        return f"{value:,.0f}"
    return f"{value:.{MAX_DIGITS}g}"
