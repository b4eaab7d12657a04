"""The section about workd beside other systems, from peers.json: a table, bars, ratios to the goals, settings."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from bench.report import markdown, plots
from bench.report.goals import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.report.notes import Notes

OURS = "workd"
SECTION = "peers"
TITLES = {
    "drain_per_s": "drain",
    "drain_results_per_s": "drain, results kept",
    "drain_aof_per_s": "drain, AOF everysec",
    "worker_cpu_us": "CPU of the worker side",
    "redis_cpu_us": "CPU of Redis",
    "cpu_us": "CPU of both",
    "redis_commands": "Redis commands",
    "redis_reads": "reads by Redis",
    "enqueue_per_s": "enqueue one by one",
    "bulk_per_s": "enqueue in bulk",
    "begin_p50_ms": "enqueue to start, p50",
    "begin_p99_ms": "enqueue to start, p99",
    "result_p50_ms": "enqueue to result, p50",
    "burn_x_ideal": "2,000 jobs of 2 ms of CPU",
    "start_s": "start to first job",
    "pss_mb": "PSS of the worker side",
}
"""Longer than the titles in peers.json, which are made for a terminal."""
PLOTTED = (("drain_per_s", "drain_results_per_s"), ("cpu_us", "begin_p50_ms"))


class Field:
    """The records of peers.json, by system and measure."""

    def __init__(self, found: dict[str, Any]) -> None:
        """Sort the records."""
        self.systems: list[dict[str, Any]] = found["systems"]
        self.measures: list[dict[str, Any]] = [
            measure | {"title": TITLES.get(measure["name"], measure["title"])} for measure in found["measures"]
        ]
        self.failures: list[dict[str, Any]] = found["failures"]
        self._records = {(one["system"], one["measure"]): one for one in found["records"]}

    def record(self, system: str, measure: str) -> dict[str, Any] | None:
        """Return what was measured, if it was."""
        return self._records.get((system, measure))

    def row(self, system: str) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Return every measure with a system's record of it."""
        return [(measure, self.record(system, measure["name"])) for measure in self.measures]

    def measure(self, name: str) -> dict[str, Any] | None:
        """Return a measure by its name."""
        return next((one for one in self.measures if one["name"] == name), None)

    def best_peer(self, measure: dict[str, Any]) -> str | None:
        """Return the peer with the best median."""
        there = {
            one["name"]: record["median"]
            for one in self.systems
            if one["name"] != OURS and (record := self.record(one["name"], measure["name"]))
        }
        choose = max if measure["better"] == "more" else min
        return choose(there, key=lambda name: there[name]) if there else None

    def ratios(self, measure: dict[str, Any], peer: str) -> list[float]:
        """Return ours to the peer's round by round: both of a round met the same noise."""
        ours, theirs = self.record(OURS, measure["name"]), self.record(peer, measure["name"])
        if ours is None or theirs is None:
            return []
        pairs = zip(ours["values"], theirs["values"], strict=False)
        return [own / other for own, other in pairs if own is not None and other]

    def title(self, system: str) -> str:
        """Return a system's name for people."""
        return next(str(one["title"]) for one in self.systems if one["name"] == system)


def verdicts(found: dict[str, Any], notes: Notes) -> Iterator[Verdict]:
    """Compare workd with the goals that the measures name."""
    field = Field(found)
    for measure in field.measures:
        if measure["goal"] is not None:
            yield _relative(field, measure, notes) if measure["goal"]["against"] else _own(field, measure, notes)


def _own(field: Field, measure: dict[str, Any], notes: Notes) -> Verdict:
    """Compare our figure with a limit."""
    what = f"{measure['title']}, in the run beside others"  # workd's own curves may have it too
    goal = f"{_limit(measure)} {measure['unit']}"
    own = field.record(OURS, measure["name"])
    if own is None:
        return Verdict.unmeasured(what, goal)
    return _verdict(what, goal, measure, [own[key] for key in ("median", "low", "high")], measure["unit"], notes)


def _relative(field: Field, measure: dict[str, Any], notes: Notes) -> Verdict:
    """Compare our figure with the peer's that the goal names, or else with the best one's."""
    named = measure["goal"]["against"]
    peer = named if field.record(named, measure["name"]) else field.best_peer(measure)
    ratios = [] if peer is None else field.ratios(measure, peer)
    if peer is None or not ratios:
        return Verdict.unmeasured(measure["title"], f"{_limit(measure)} x {named}")
    values = [statistics.median(ratios), min(ratios), max(ratios)]
    return _verdict(measure["title"], f"{_limit(measure)} x {field.title(peer)}", measure, values, "x", notes)


def _limit(measure: dict[str, Any]) -> str:
    return f"{'>=' if measure['better'] == 'more' else '<='} {measure['goal']['limit']:g}"


def _verdict(
    what: str, goal: str, measure: dict[str, Any], values: Sequence[float], unit: str, notes: Notes
) -> Verdict:
    limit = measure["goal"]["limit"]
    met = values[0] >= limit if measure["better"] == "more" else values[0] <= limit
    why = "" if met else notes.why(SECTION, measure["name"])
    return Verdict(what, goal, f"{markdown.ranged(*values)} {unit}", met, why)


def section(found: dict[str, Any], notes: Notes, folder: Path) -> Iterator[str]:
    """Draw the bars into `folder` and yield the lines of the page."""
    field = Field(found)
    yield from notes.curve(SECTION)
    for number, names in enumerate(PLOTTED, 1):
        panels = [panel for name in names if (panel := _panel(field, name))]
        if panels:
            name = f"{SECTION}-{number}.svg"
            plots.bars(folder / name, panels)
            yield from markdown.image(name, " and ".join(panel.title for panel in panels))
    yield from _figures(field, _median)
    yield "<details><summary>The ranges of the rounds</summary>"
    yield ""
    yield from _figures(field, _range)
    yield "</details>"
    yield ""
    yield "Settings and versions, each system's as its own documentation gives them for speed:"
    yield ""
    for one in field.systems:
        versions = ", ".join(f"{package} {version}" for package, version in one["versions"].items())
        yield f"- {one['title']} ({one['delivery']}): {one['settings']}; {one['jobs']:,} jobs drained; {versions}"
    yield ""
    for failure in field.failures:
        yield f"- Failed: {field.title(failure['system'])}, {failure['scene']}: {failure['reason']}"
    if field.failures:
        yield ""


def _panel(field: Field, name: str) -> plots.Panel | None:
    measure = field.measure(name)
    rows = [(one, record) for one in field.systems if (record := field.record(one["name"], name))]
    if measure is None or not rows:
        return None
    rows.sort(key=lambda row: row[0]["name"] != OURS)
    series = plots.Series("", *([record[key] for _, record in rows] for key in ("median", "low", "high")))
    titles = [one["title"] for one, _ in rows]
    return plots.Panel(measure["title"], measure["unit"], titles, [series], log_y=measure["better"] == "less")


def _figures(field: Field, text: Callable[[dict[str, Any], dict[str, Any]], str]) -> list[str]:
    head = ["", "delivery", *(f"{measure['title']}, {measure['unit']}" for measure in field.measures)]
    rows = [
        [
            one["title"],
            one["delivery"],
            *(text(measure, record) if record else "-" for measure, record in field.row(one["name"])),
        ]
        for one in field.systems
    ]
    return markdown.table(head, rows)


def _median(measure: dict[str, Any], record: dict[str, Any]) -> str:
    return f"{record['median']:,.{measure['digits']}f}"


def _range(measure: dict[str, Any], record: dict[str, Any]) -> str:
    return " to ".join(f"{record[end]:,.{measure['digits']}f}" for end in ("low", "high"))
