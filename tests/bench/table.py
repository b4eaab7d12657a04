"""The lines of the table, and how they are printed. Every part of the bench yields `Row`s as it measures them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LAYOUT = "{:44} {:>17} {:>17} {:>10} {:>12} {}"
HEAD = LAYOUT.format("", "multiprocessing", "workd", "ratio", "target", "").rstrip()
MISSED = "◀ missed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `missed` is None where there is no target."""

    what: str
    theirs: str = ""
    ours: str = ""
    ratio: str = ""
    target: str = ""
    missed: bool | None = None

    def __str__(self) -> str:
        mark = MISSED if self.missed else ""
        return LAYOUT.format(self.what, self.theirs, self.ours, self.ratio, self.target, mark).rstrip()


@dataclass(frozen=True, slots=True)
class Pairs:
    """What was measured of both sides in turn, round by round: seconds, or anything else of which less is better."""

    theirs: Sequence[float]
    ours: Sequence[float]

    @property
    def ratio(self) -> float:
        """How many times better we are: the median over the rounds, since both sides of a round met the same noise."""
        return statistics.median(theirs / ours for theirs, ours in zip(self.theirs, self.ours, strict=True))

    def medians(self) -> tuple[float, float]:
        """Return the median of either side."""
        return statistics.median(self.theirs), statistics.median(self.ours)


def rates(what: str, per_round: float, unit: str, pairs: Pairs, target: float | None = None) -> Row:
    """Show times as rates: `per_round` of `unit` were done in each."""
    theirs, ours = (f"{per_round / time_s:,.0f} {unit}/s" for time_s in pairs.medians())
    return _compared(what, theirs, ours, pairs.ratio, target)


def times(what: str, pairs: Pairs, target: float | None = None) -> Row:
    """Show times in milliseconds."""
    theirs, ours = (f"{time_s * 1000:,.1f} ms" for time_s in pairs.medians())
    return _compared(what, theirs, ours, pairs.ratio, target)


def _compared(what: str, theirs: str, ours: str, ratio: float, target: float | None) -> Row:
    if target is None:
        return Row(what, theirs, ours, f"{ratio:.2f} x")
    return Row(what, theirs, ours, f"{ratio:.2f} x", f">= {target:g} x", round(ratio, 2) < target)


def show(title: str, rows: Iterable[Row]) -> int:
    """Print rows under a title as they come; return how many missed their target."""
    print(f"\n{title}\n{HEAD}", flush=True)
    missed = 0
    for row in rows:
        print(row, flush=True)
        missed += bool(row.missed)
    return missed
