"""What was measured, as JSON to keep and as tables to read."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.field.catalogue import BY_NAME, OURS, SYSTEMS, WORKERS
from bench.field.measures import FASTEST, MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.field.driver import Taken
    from bench.field.measures import Measure
    from bench.field.scenes import Size

VERSION = 1
TITLE_WIDTH = 28
DELIVERY_WIDTH = 13
WIDTH = 13
COLUMNS = 8  # side by side
GOALS = "{:24} {:>12} {:32} {:>26} {:>15}  {}"


def document(taken: Taken, versions: Mapping[str, Mapping[str, str]], size: Size) -> dict[str, Any]:
    """Return all as JSON data: one record per system and measure, `values` round by round (null: not measured)."""
    measured = [system for system in SYSTEMS if any(system.name in figures for figures in taken.rounds)]
    return {
        "version": VERSION,
        "machine": machine.describe(),
        "workers": WORKERS,
        "systems": [
            {
                "name": system.name,
                "title": system.title,
                "delivery": system.delivery,
                "settings": system.settings,
                "jobs": size.jobs(system),
                "cpu_jobs": size.cpu_jobs(system),
                "versions": dict(versions.get(system.name, {})),
            }
            for system in measured
        ],
        "measures": [asdict(measure) for measure in MEASURES],
        "records": [
            record
            for system in measured
            for measure in MEASURES
            if (record := _record(system.name, measure.name, taken)) is not None
        ],
        "failures": [asdict(failure) for failure in taken.failures],
    }


def _record(system: str, measure: str, taken: Taken) -> dict[str, Any] | None:
    values = [figures.get(system, {}).get(measure) for figures in taken.rounds]
    there = [value for value in values if value is not None]
    if not there:
        return None
    return {
        "system": system,
        "measure": measure,
        "values": values,
        "median": statistics.median(there),
        "low": min(there),
        "high": max(there),
    }


class Medians:
    """The records of a document by system and measure."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        """Sort the records."""
        self._records = {(one["system"], one["measure"]): one for one in found["records"]}
        self.systems: list[str] = [one["name"] for one in found["systems"]]

    def of(self, system: str, measure: Measure) -> float | None:
        """Return a median, or None for what was not measured."""
        record = self._records.get((system, measure.name))
        return None if record is None else record["median"]

    def fastest(self, measure: Measure) -> str | None:
        """Return the peer with the best median."""
        there = {name: value for name in self.systems if name != OURS and (value := self.of(name, measure)) is not None}
        choose = max if measure.better == "more" else min
        return choose(there, key=lambda name: there[name]) if there else None

    def ratios(self, measure: Measure, peer: str) -> list[float]:
        """Return ours to the peer's, round by round: both of a round met the same noise."""
        ours, theirs = (self._records.get((name, measure.name), {"values": []})["values"] for name in (OURS, peer))
        return [own / other for own, other in zip(ours, theirs, strict=False) if own is not None and other]

    def values(self, measure: Measure) -> list[float]:
        """Return our own figures, round by round."""
        record = self._records.get((OURS, measure.name), {"values": []})
        return [value for value in record["values"] if value is not None]


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of all tables."""
    medians = Medians(found)
    yield ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    yield ""
    for first in range(0, len(MEASURES), COLUMNS):
        yield from _figures(found, medians, MEASURES[first : first + COLUMNS])
    yield from _goals(medians)
    for one in found["systems"]:
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        yield f"{one['title']}: {one['settings']}; {one['jobs']:,} jobs drained; {versions}"
    for failure in found["failures"]:
        yield f"FAILED: {BY_NAME[failure['system']].title}, {failure['scene']}: {failure['reason']}"


def _figures(found: Mapping[str, Any], medians: Medians, measures: Sequence[Measure]) -> Iterator[str]:
    head = f"{'':{TITLE_WIDTH}} {'delivery':{DELIVERY_WIDTH}}"
    yield head + "".join(f"{measure.title:>{WIDTH}}" for measure in measures)
    yield f"{'':{len(head)}}" + "".join(f"{measure.unit:>{WIDTH}}" for measure in measures)
    failed = {(failure["system"], failure["scene"]) for failure in found["failures"]}
    for one in found["systems"]:
        cells = []
        for measure in measures:
            value = medians.of(one["name"], measure)
            missing = "failed" if (one["name"], measure.scene) in failed else "-"
            cells.append(missing if value is None else measure.text(value))
        yield f"{one['title']:{TITLE_WIDTH}} {one['delivery']:{DELIVERY_WIDTH}}" + "".join(
            f"{cell:>{WIDTH}}" for cell in cells
        )
    yield ""


def _goals(medians: Medians) -> Iterator[str]:
    """Compare workd with what it has to reach, and with the best peer where there is no goal."""
    yield GOALS.format("", OURS, "beside", "ratio (range)", "goal", "").rstrip()
    for measure in MEASURES:
        ours = medians.of(OURS, measure)
        if ours is not None:
            yield _goal(measure, ours, medians)
    yield ""


def _goal(measure: Measure, ours: float, medians: Medians) -> str:
    peer = _peer(measure, medians)
    theirs = None if peer is None else medians.of(peer, measure)
    beside = "" if peer is None or theirs is None else f"{measure.text(theirs)} {BY_NAME[peer].title}"
    ratios = [] if peer is None else medians.ratios(measure, peer)
    ratio = f"{statistics.median(ratios):.3g} ({min(ratios):.3g} - {max(ratios):.3g})" if ratios else ""
    title = f"{measure.title}, {measure.unit}"
    wanted, verdict = _wanted(measure, ours, ratios)
    return GOALS.format(title, measure.text(ours), beside, ratio, wanted, verdict).rstrip()


def _peer(measure: Measure, medians: Medians) -> str | None:
    """Return whom a measure's goal names, or else the best peer."""
    if measure.goal is not None and measure.goal.against not in ("", FASTEST):
        return measure.goal.against
    return medians.fastest(measure)


def _wanted(measure: Measure, ours: float, ratios: Sequence[float]) -> tuple[str, str]:
    """Return the goal, and whether it is met; neither where there is none, no verdict where nobody to compare with."""
    if measure.goal is None:
        return "", ""
    sign, relative = ">=" if measure.better == "more" else "<=", bool(measure.goal.against)
    wanted = f"{sign} {measure.goal.limit:g} {'x' if relative else measure.unit}"
    if relative and not ratios:
        return wanted, ""
    return wanted, "met" if measure.is_met(statistics.median(ratios) if relative else ours) else "MISSED"
