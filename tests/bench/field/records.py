"""What peers.json says, by system and measure: medians, who is best, our ratio to whom, and whether a goal is met.

Read by `report` of this folder for the terminal, and by `bench.report.peers` for docs/benchmarks.md.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.field.catalogue import OURS
from bench.field.measures import FASTEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our figure, or its ratio to another system's, beside a goal."""

    goal: str
    """In words: "<= 0.8 s", ">= 6 x Huey"."""
    unit: str = ""
    values: Sequence[float] = ()
    """The median and the ends of the range; empty if nothing was measured."""
    met: bool = False


class Records:
    """The content of peers.json."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        """Sort the records."""
        self.systems: list[dict[str, Any]] = found["systems"]
        self.measures: list[dict[str, Any]] = found["measures"]
        self.failures: list[dict[str, Any]] = found["failures"]
        self._records: dict[tuple[str, str], dict[str, Any]] = {
            (one["system"], one["measure"]): one for one in found["records"]
        }

    def record(self, system: str, measure: str) -> dict[str, Any] | None:
        """Return what was measured, if it was."""
        return self._records.get((system, measure))

    def row(self, system: str) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Return every measure with a system's record of it."""
        return [(measure, self.record(system, measure["name"])) for measure in self.measures]

    def measure(self, name: str) -> dict[str, Any] | None:
        """Return a measure by its name."""
        return next((one for one in self.measures if one["name"] == name), None)

    @property
    def rounds(self) -> int:
        """How often each system had its turn."""
        return max((len(record["values"]) for record in self._records.values()), default=0)

    def title(self, system: str) -> str:
        """Return a system's name for people."""
        return next((str(one["title"]) for one in self.systems if one["name"] == system), system)

    def peer(self, measure: dict[str, Any]) -> str | None:
        """Return whom a measure's goal names (nobody if that was not measured), or else the best peer."""
        against = (measure["goal"] or {"against": ""})["against"]
        if against not in ("", FASTEST):
            return against if self.record(against, measure["name"]) else None
        medians = {
            one["name"]: record["median"]
            for one in self.systems
            if one["name"] != OURS and (record := self.record(one["name"], measure["name"]))
        }
        choose = max if measure["better"] == "more" else min
        return choose(medians, key=lambda name: medians[name]) if medians else None

    def ratios(self, measure: dict[str, Any]) -> tuple[float, ...]:
        """Return the median and the range of our ratios to the peer's, round by round: both met the same noise."""
        peer = self.peer(measure)
        ours, theirs = self.record(OURS, measure["name"]), self.record(peer or "", measure["name"])
        if ours is None or theirs is None:
            return ()
        pairs = zip(ours["values"], theirs["values"], strict=False)
        found = [own / other for own, other in pairs if own is not None and other]
        return (statistics.median(found), min(found), max(found)) if found else ()

    def compare(self, measure: dict[str, Any]) -> Comparison | None:
        """Compare our figure with the goal, if the measure has one."""
        goal = measure["goal"]
        if goal is None:
            return None
        limit = f"{'>=' if measure['better'] == 'more' else '<='} {goal['limit']:g}"
        if goal["against"]:
            words, unit = f"{limit} x {self.title(self.peer(measure) or goal['against'])}", "x"
            values = self.ratios(measure)
        else:
            own = self.record(OURS, measure["name"])
            words, unit = f"{limit} {measure['unit']}", measure["unit"]
            values = (own["median"], own["low"], own["high"]) if own else ()
        if not values:
            return Comparison(words)
        met = values[0] >= goal["limit"] if measure["better"] == "more" else values[0] <= goal["limit"]
        return Comparison(words, unit, values, met)
