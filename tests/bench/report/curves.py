"""The sections about workd alone, from curves.json: a plot and a table for each curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report import markdown, plots
from bench.report.goals import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.report.notes import Notes

TITLES = {
    "workers": "Workers",
    "daemons": "Daemons on one server",
    "backlog": "Length of the queue",
    "queues": "Queues",
    "payloads": "Payload",
    "distance": "Distance to Redis",
    "cpu": "Jobs that use CPU",
    "lifetimes": "Starts and deaths",
    "memory": "Memory",
    "map": "RedisPool.map beside the standard library's in memory",
    "fleet": "What one Redis carries",
    "idle": "A daemon with nothing to do",
    "stored": "Room in Redis",
    "due": "Delayed jobs",
    "takeover": "The jobs of a dead daemon",
}
WITH_GOALS = ("payloads", "distance", "cpu", "lifetimes", "memory", "map", "stored", "due", "takeover")
GROWING = ("workers", "daemons", "backlog", "queues")
COSTS = ("CPU of the supervisors", "CPU of the workers", "CPU of Redis")
RELAYED = "the same, each handed to a process and parsed"
LOGARITHMIC = {"workers", "backlog", "queues", "payloads", "cpu"}


@dataclass(frozen=True, slots=True)
class Curve:
    """The figures of one curve."""

    name: str
    figures: Sequence[dict[str, Any]]
    rounds: int
    quick: bool

    def named(self, what: str, unit: str | None = None) -> list[dict[str, Any]]:
        """Return one kind of figure at every point, in order."""
        return [one for one in self.figures if one["what"] == what and unit in (None, one["unit"])]

    def series(self, what: str, name: str | None = None, unit: str | None = None) -> plots.Series:
        """Return the same for a plot."""
        rows = self.named(what, unit)
        return plots.Series(name or what, *([row[key] for row in rows] for key in ("median", "low", "high")))

    def places(self) -> list[float]:
        """Return the points."""
        return sorted({one["at"] for one in self.figures})


def curves(found: dict[str, Any]) -> list[Curve]:
    """Return the curves that were measured, in the order of the page."""
    kept = {name: found["curves"][name] for name in TITLES if name in found["curves"]}
    return [Curve(name, one["figures"], one["rounds"], one["quick"]) for name, one in kept.items()]


def verdicts(found: dict[str, Any], notes: Notes) -> Iterator[Verdict]:
    """Compare every figure that has a goal with it."""
    for name in WITH_GOALS:
        if name not in found["curves"]:
            yield Verdict.unmeasured(f"all of: {TITLES[name]}", "")
    for curve in curves(found):
        for one in curve.figures:
            if one["goal"] is not None:
                place = f", {one['at']:,.10g} {one['at_unit']}" if one["at_unit"] else ""
                measured = f"{markdown.ranged(one['median'], one['low'], one['high'])} {one['unit']}"
                why = "" if one["met"] else notes.why(curve.name, one["what"], one["at"])
                goal = f"{one['goal']} {one['unit']}"
                yield Verdict(f"{one['what'].strip()}{place}", goal, measured, one["met"], why)


def sections(found: dict[str, Any], notes: Notes, folder: Path) -> Iterator[str]:
    """Draw the plots into `folder` and yield the lines of the page."""
    for curve in curves(found):
        yield f"### {TITLES[curve.name]}"
        yield ""
        yield from notes.curve(curve.name)
        if panels := _panels(curve):
            plots.lines(folder / f"{curve.name}.svg", panels)
            yield from markdown.image(f"{curve.name}.svg", TITLES[curve.name])
        yield from _table(curve)
        yield f"Rounds: {curve.rounds}{', of less than the full work' if curve.quick else ''}."
        yield ""


def _panels(curve: Curve) -> list[plots.Panel]:
    """Choose what is worth a plot."""
    places, unit = curve.places(), curve.figures[0]["at_unit"]
    log_x = curve.name in LOGARITHMIC

    def panel(title: str, y_label: str, *series: plots.Series, log_y: bool = False) -> plots.Panel:
        there = [one for one in series if one.medians]  # a file of before may lack one
        return plots.Panel(title, y_label, places, there, x_label=unit, log_x=log_x, log_y=log_y)

    if curve.name in GROWING:
        costs = [curve.series(what, what.removeprefix("CPU of ")) for what in COSTS]
        return [panel("drain", "jobs/s", curve.series("drain")), panel("CPU per job", "us", *costs)]
    if curve.name == "payloads":
        both = [
            curve.series("drain", "workd", "jobs/s"),
            curve.series("bare redis-py loop", "bare loop"),
            curve.series(RELAYED, "and handed over"),
        ]
        return [
            panel("drain", "jobs/s", *both, log_y=True),
            panel("drain", "MB/s", curve.series("drain", "workd", "MB/s")),
        ]
    if curve.name == "distance":
        idle = curve.series("idle share of the machine")
        return [panel("drain", "jobs/s", curve.series("drain")), panel("idle share of the machine", "of 1", idle)]
    if curve.name == "cpu":
        places = sorted({one["at"] for one in curve.named("x ideal")})
        series = [curve.series("x ideal", "workd"), curve.series("x ideal of plain processes (control)", "control")]
        return [plots.Panel("time, x ideal", "x", places, series, x_label="ms of CPU a job", log_x=True, bottom=0.9)]
    return []


def _table(curve: Curve) -> list[str]:
    """Return a table with a line for each point, or for each figure where there are no points."""
    if not any(one["at_unit"] for one in curve.figures):
        return _plain_table(curve.figures)
    if curve.name == "fleet":
        return _fleet(curve)
    names = list(dict.fromkeys((one["what"], one["unit"]) for one in curve.figures if one["at_unit"]))
    by_place = {(one["at"], one["what"], one["unit"]): one for one in curve.figures}
    places = sorted({one["at"] for one in curve.figures if one["at_unit"]})
    unit = next(one["at_unit"] for one in curve.figures if one["at_unit"])
    head = [unit, *(f"{what}, {of}" for what, of in names)]
    rows = [
        [
            f"{place:,.10g}",
            *(_text(by_place[place, what, of]) if (place, what, of) in by_place else "-" for what, of in names),
        ]
        for place in places
    ]
    loose = [one for one in curve.figures if not one["at_unit"]]
    lines = markdown.table(head, rows)
    busy = [f"- {one['at']:,.10g} {one['at_unit']}: {one['note']}" for one in curve.figures if one["note"]]
    if busy:
        lines += ["Who is busy:", "", *busy, ""]
    return lines + (_plain_table(loose) if loose else [])


def _plain_table(figures: Sequence[dict[str, Any]]) -> list[str]:
    rows = [(one["what"].strip(), one["unit"], _text(one)) for one in figures]
    return markdown.table(("", "", "median (range)"), rows)


def _fleet(curve: Curve) -> list[str]:
    """Return a line for each load, whose figures are named "load: figure", and then the others."""
    figures = [one for one in curve.figures if ": " in one["what"]]
    loads = list(dict.fromkeys((one["what"].rpartition(": ")[0], one["at"]) for one in figures))
    kinds = list(dict.fromkeys((one["what"].rpartition(": ")[2], one["unit"]) for one in figures))
    found = {(one["what"], one["at"]): one for one in figures}
    rows = [
        [load, f"{at:g}" if at else "", *(_text(found[f"{load}: {kind}", at]) for kind, _ in kinds)]
        for load, at in loads
    ]
    lines = markdown.table(("load", "simulated daemons", *(f"{kind}, {unit}" for kind, unit in kinds)), rows)
    other = [one for one in curve.figures if one not in figures]
    return lines + (_plain_table(other) if other else [])


def _text(one: dict[str, Any]) -> str:
    return markdown.ranged(one["median"], one["low"], one["high"])
