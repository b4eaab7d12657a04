"""The section about workd beside other systems, from peers.json: a table, bars, ratios to the goals, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.field.catalogue import OURS
from bench.field.records import Records
from bench.report import markdown, plots
from bench.report.goals import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.report.notes import Notes

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


def records(found: dict[str, Any]) -> Records:
    """Return the records, with titles for a page."""
    named = [one | {"title": TITLES.get(one["name"], one["title"])} for one in found["measures"]]
    return Records(found | {"measures": named})


def verdicts(found: dict[str, Any], notes: Notes) -> Iterator[Verdict]:
    """Compare workd with the goals that the measures name."""
    field = records(found)
    for measure in field.measures:
        if compared := field.compare(measure):
            of_its_own = not measure["goal"]["against"]  # workd's own curves may have it too
            what = f"{measure['title']}, in the run beside others" if of_its_own else measure["title"]
            if compared.values:
                why = "" if compared.met else notes.why(SECTION, measure["name"])
                measured = f"{markdown.ranged(*compared.values)} {compared.unit}"
                yield Verdict(what, compared.goal, measured, compared.met, why)
            else:
                yield Verdict.unmeasured(what, compared.goal)


def section(found: dict[str, Any], notes: Notes, folder: Path) -> Iterator[str]:
    """Draw the bars into `folder` and yield the lines of the page."""
    field = records(found)
    yield f"Rounds in which each system had its turn: {field.rounds}."
    yield ""
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
    yield "Settings and versions, each system's as its own documentation gives them for speed (its adapter in"
    yield "tests/bench/field/systems says where they come from), and what becomes of a job whose worker is killed:"
    yield ""
    for one in field.systems:
        versions = ", ".join(f"{package} {version}" for package, version in one["versions"].items())
        yield f"- {one['title']} ({one['delivery']}): {one['settings']}; {one['jobs']:,} jobs drained; {versions}"
        if crash := one.get("crash"):
            yield f"  - Such a job {crash}."
    yield ""
    for failure in field.failures:
        yield f"- Failed: {field.title(failure['system'])}, {failure['scene']}: {failure['reason']}"
    if field.failures:
        yield ""


def _panel(field: Records, name: str) -> plots.Panel | None:
    measure = field.measure(name)
    rows = [(one, record) for one in field.systems if (record := field.record(one["name"], name))]
    if measure is None or not rows:
        return None
    rows.sort(key=lambda row: row[0]["name"] != OURS)
    series = plots.Series("", *([record[key] for _, record in rows] for key in ("median", "low", "high")))
    titles = [one["title"] for one, _ in rows]
    return plots.Panel(measure["title"], measure["unit"], titles, [series], log_y=measure["better"] == "less")


def _figures(field: Records, text: Callable[[dict[str, Any], dict[str, Any]], str]) -> list[str]:
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
