"""What pairs of measurements say: how many times as good this tree is, and how sure that is."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.compare.measures import Measure

NOTHING: Final = "\N{EN DASH}"
LAYOUT: Final = "{:40} {:>18} {:>18} {:>8} {:>8} {}"
LEAST_PAIRS: Final = 3  # fewer have no spread worth the name
LEAST_SPREAD: Final = 0.02  # pairs that happen to agree do not make a difference of one percent sure
WORSE, BETTER = "◀ worse", "better"


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure of both trees, pair by pair; None is what a tree lacks. The costs are such that less is better."""

    measure: Measure
    other: Sequence[float | None]
    this: Sequence[float | None]

    @property
    def ratios(self) -> list[float]:
        """How many times as good this tree was in each pair: over 1 is better than the other."""
        pairs = zip(self.other, self.this, strict=True)
        return [other / this for other, this in pairs if other is not None and this]

    @property
    def spread(self) -> float:
        """How far the ratios reach around their median: half of their range, and not less than `LEAST_SPREAD`."""
        return max(LEAST_SPREAD, (max(self.ratios) - min(self.ratios)) / 2)

    @property
    def verdict(self) -> str:
        """Say what is worse, or better, by more than the spread."""
        if len(self.ratios) < LEAST_PAIRS:
            return ""
        difference = statistics.median(self.ratios) - 1
        if abs(difference) <= self.spread:
            return ""
        return WORSE if difference < 0 else BETTER

    def __str__(self) -> str:
        """Return the line of the table."""
        ratio = spread = NOTHING
        if self.ratios:
            ratio, spread = f"{statistics.median(self.ratios):.2f} x", f"± {self.spread:.2f}"
        shown = self.measure.show
        other, this = (_shown(side, shown) for side in (self.other, self.this))
        return LAYOUT.format(self.measure.what, other, this, ratio, spread, self.verdict).rstrip()


def _shown(costs: Sequence[float | None], show: Callable[[float], str]) -> str:
    there = [cost for cost in costs if cost is not None]
    return show(statistics.median(there)) if there else NOTHING
