"""`make bench-report`: write docs/benchmarks.md with its plots, and docs/scaling.md, from what was measured.

    python tests/bench/report           write
    python tests/bench/report --check   write nothing; end with 1 if the pages are not what the JSON files say

Reads docs/benchmarks/peers.json (make bench-peers), curves.json (make bench-curves), notes.toml (written by hand:
reasons) and scaling.md.in (the text of docs/scaling.md). The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

TESTS = Path(__file__).parents[2]
sys.path[:] = [str(TESTS), *(entry for entry in sys.path if entry != str(Path(__file__).parent))]

from bench.report import curves, markdown, peers, scaling  # noqa: E402 - found through the line above
from bench.report.notes import Notes  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.report.goals import Verdict

DOCS = TESTS.parent / "docs"
HEAD = """\
# Benchmarks

<!-- Written by `make bench-report` from the files in docs/benchmarks. Change those, or notes.toml there. -->

Every figure is a median over rounds, with the range of the rounds behind it. Machines are noisy: trust ratios, not
rates, and differences under 1.5 times between two other systems not at all. To measure on a machine of your own:

    make bench-all        # all of it, some 40 minutes, or in parts:
    make bench-peers      # workd beside other job systems
    make bench-curves     # workd alone: how it bends
    make bench-report     # this page
"""
METHOD = """\
## How this was measured

- **Server**: one of its own for each run, on 127.0.0.1 over TCP, without persistence where nothing else is said.
- **Daemons** are real: `workd run` with its defaults (validation in parent and worker, leases, fences, delivery
  counts, logs at their default level), but for what a curve varies, and HTTP off.
- **Jobs report** through a small mapped file per worker, read by the bench seldom: measuring takes no share worth
  naming. CPU comes from /proc, to the nanosecond for workd's own curves.
- **A drain** begins with warm daemons: their supervisors are stopped by a signal, the queues are filled, and the
  clock runs from the signal to go on until Redis has the last outcome. A producer's share is in no drain.
- **Points and sides take turns**, round by round, so that a slow minute of the machine is not one side's alone. A
  ratio is the median of the rounds' ratios, not the quotient of two medians.
- **x ideal** is the time from the first job's start to the last one's end, over the CPU time that the jobs say they
  have used, divided by the workers. The control burns the same in plain processes without workd.
- **The distance** is made by a TCP proxy that holds back each direction for half a round trip and does not limit
  throughput; 0 ms goes through the same proxy.
- **Peers** run in their own environments with the settings that their own documentation gives for speed, two worker
  processes each. Their guarantee stands beside their figures: losing jobs in a crash is faster than not losing them.
"""


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(
        prog="make bench-report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    options = parser.parse_args()
    if not options.check:
        for goal in _write(parser, DOCS):
            sys.stderr.write(f"say in docs/benchmarks/notes.toml why it is missed: {goal}\n")
        return
    with tempfile.TemporaryDirectory(prefix="workd-report-") as name:
        copy = Path(name)
        (copy / "benchmarks").mkdir()
        unexplained = _write(parser, copy, DOCS)
        stale = [path.name for path in _outputs(copy) if not _same(path, DOCS / path.relative_to(copy))]
    if stale:
        parser.exit(1, f"not up to date: {', '.join(stale)}; run make bench-report\n")
    if unexplained:
        parser.exit(1, f"missed, and docs/benchmarks/notes.toml does not say why: {'; '.join(unexplained)}\n")


def _write(parser: argparse.ArgumentParser, docs: Path, source: Path | None = None) -> list[str]:
    try:
        return write(docs, source)
    except scaling.MissingError as error:
        parser.exit(1, f"docs/scaling.md can't be written: {error}\n")


def write(docs: Path, source: Path | None = None) -> list[str]:
    """Write the pages and the plots into `docs` from the files in `source` (or in `docs` itself).

    Returns the missed goals that nobody has explained. Raises `scaling.MissingError`; all but docs/scaling.md is
    written then.
    """
    data = (source or docs) / "benchmarks"
    notes = Notes(data / "notes.toml")
    field, alone = _read(data / "peers.json"), _read(data / "curves.json")
    found = [*(peers.verdicts(field, notes) if field else ()), *(curves.verdicts(alone, notes) if alone else ())]
    page = "\n".join(_page(field, alone, notes, found, docs / "benchmarks")).rstrip() + "\n"
    (docs / "benchmarks.md").write_text(page, encoding="utf-8")
    if alone:
        template = (data / "scaling.md.in").read_text(encoding="utf-8")
        (docs / "scaling.md").write_text(scaling.page(template, alone), encoding="utf-8")
    return [f"{verdict.what} ({verdict.goal}; {verdict.measured})" for verdict in found if verdict.unexplained]


def _page(
    field: dict[str, Any] | None,
    alone: dict[str, Any] | None,
    notes: Notes,
    found: Sequence[Verdict],
    folder: Path,
) -> Iterator[str]:
    yield HEAD
    yield "## Goals"
    yield ""
    met = sum(verdict.met for verdict in found)
    yield f"{met} of {len(found)} are met."
    yield ""
    yield from markdown.table(("what", "goal", "measured", ""), [verdict.cells() for verdict in found])
    if field:
        yield "## Beside other systems"
        yield ""
        yield _machine(field["machine"])
        yield ""
        yield from peers.section(field, notes, folder)
    if alone:
        yield "## workd alone"
        yield ""
        yield _machine(alone["machine"])
        yield ""
        yield from curves.sections(alone, notes, folder)
    yield METHOD


def _machine(box: dict[str, Any]) -> str:
    return "Measured on: " + ", ".join(f"{name} {value}" for name, value in box.items()) + "."


def _read(path: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def _outputs(docs: Path) -> list[Path]:
    return [docs / "benchmarks.md", docs / "scaling.md", *sorted((docs / "benchmarks").glob("*.svg"))]


def _same(path: Path, other: Path) -> bool:
    return other.exists() and path.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    main()
