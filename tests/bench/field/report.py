"""What was measured, as JSON to keep and as tables to read."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.field.catalogue import OURS, SYSTEMS, WORKERS
from bench.field.measures import MEASURES
from bench.field.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.field.driver import Taken
    from bench.field.scenes import Size

VERSION = 1
TITLE_WIDTH = 28
DELIVERY_WIDTH = 13
WIDTH = 13
COLUMNS = 8  # side by side
GOALS = "{:24} {:>12} {:32} {:>26} {:>24}  {}"


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
                "crash": system.crash,
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


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of all tables."""
    records = Records(found)
    yield ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    yield ""
    for first in range(0, len(records.measures), COLUMNS):
        yield from _figures(records, records.measures[first : first + COLUMNS])
    yield from _goals(records)
    for one in found["systems"]:
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        yield f"{one['title']}: {one['settings']}; {one['jobs']:,} jobs drained; {versions}"
    for failure in found["failures"]:
        yield f"FAILED: {records.title(failure['system'])}, {failure['scene']}: {failure['reason']}"


def _figures(records: Records, measures: Sequence[dict[str, Any]]) -> Iterator[str]:
    head = f"{'':{TITLE_WIDTH}} {'delivery':{DELIVERY_WIDTH}}"
    yield head + "".join(f"{measure['title']:>{WIDTH}}" for measure in measures)
    yield f"{'':{len(head)}}" + "".join(f"{measure['unit']:>{WIDTH}}" for measure in measures)
    failed = {(failure["system"], failure["scene"]) for failure in records.failures}
    for one in records.systems:
        cells = []
        for measure in measures:
            record = records.record(one["name"], measure["name"])
            missing = "failed" if (one["name"], measure["scene"]) in failed else "-"
            cells.append(_text(measure, record["median"]) if record else missing)
        yield f"{one['title']:{TITLE_WIDTH}} {one['delivery']:{DELIVERY_WIDTH}}" + "".join(
            f"{cell:>{WIDTH}}" for cell in cells
        )
    yield ""


def _goals(records: Records) -> Iterator[str]:
    """Compare workd with what it has to reach, and with the best peer where there is no goal."""
    yield GOALS.format("", OURS, "beside", "ratio (range)", "goal", "").rstrip()
    for measure in records.measures:
        if ours := records.record(OURS, measure["name"]):
            yield _goal(measure, ours["median"], records)
    yield ""


def _goal(measure: dict[str, Any], ours: float, records: Records) -> str:
    peer, ratios, compared = records.peer(measure), records.ratios(measure), records.compare(measure)
    theirs = records.record(peer, measure["name"]) if peer else None
    beside = f"{_text(measure, theirs['median'])} {records.title(peer or '')}" if theirs else ""
    ratio = "{:.3g} ({:.3g} - {:.3g})".format(*ratios) if ratios else ""
    verdict = ("met" if compared.met else "MISSED") if compared and compared.values else ""
    title = f"{measure['title']}, {measure['unit']}"
    wanted = compared.goal if compared else ""
    return GOALS.format(title, _text(measure, ours), beside, ratio, wanted, verdict).rstrip()


def _text(measure: dict[str, Any], value: float) -> str:
    return f"{value:,.{measure['digits']}f}"
