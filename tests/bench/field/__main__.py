"""`make bench-peers`: workd beside other job systems, in one run on one machine.

    make bench-peers                                        all systems, three rounds: some 20 minutes
    make bench-peers ARGS="--quick"                         one short round: some 4 minutes
    make bench-peers ARGS="--systems workd,huey --measures begin_p50_ms,start_s"

Every system has two worker processes, a fresh server on 127.0.0.1 for each scene, its own documentation's fast
settings, and environments of its own (.venv-peers…). Trust the ratios, not the rates: the systems take turns, so all
of a round meet the same machine.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
sys.path[:] = [str(FOLDER.parents[1]), *(entry for entry in sys.path if entry != str(FOLDER))]

from bench.field import report  # noqa: E402 - found through the line above
from bench.field.catalogue import BY_NAME  # noqa: E402
from bench.field.driver import Plan, Taken, measure  # noqa: E402
from bench.field.measures import BY_NAME as MEASURES  # noqa: E402
from bench.field.run import RunError, programs_of, versions_of  # noqa: E402
from bench.field.scenes import SCENES, Size  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bench.field.catalogue import System

ROUNDS, QUICK_PART = 3, 0.3
OUT = ROOT / "docs" / "benchmarks" / "peers.json"


def main() -> None:
    """Measure, print and keep."""
    parser = _parser()
    options = parser.parse_args()
    systems = [BY_NAME[name] for name in _chosen(parser, options.systems, BY_NAME)]
    wanted = {MEASURES[name].scene for name in _chosen(parser, options.measures, MEASURES)}
    rounds, part = (1, QUICK_PART) if options.quick else (ROUNDS, 1.0)
    size = Size(options.part or part)
    scenes = [scene for scene in SCENES if scene in wanted]
    plan = Plan(systems, scenes, options.rounds or rounds, size, options.venvs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # not without cleaning up
    versions = _versions(parser, systems, options.venvs)
    taken = Taken()
    try:
        measure(plan, taken)
    finally:
        found = report.document(taken, versions, plan.size)
        print("\n".join(report.tables(found)))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"kept in {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", default="", metavar="A,B", help=f"of: {', '.join(BY_NAME)}")
    parser.add_argument("--measures", default="", metavar="X,Y", help=f"of: {', '.join(MEASURES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"how often each has its turn [{ROUNDS}]")
    parser.add_argument("--quick", action="store_true", help=f"the same as --rounds 1 --part {QUICK_PART:g}")
    parser.add_argument("--part", type=float, metavar="P", help="run this part of the jobs [1]")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help=f"the JSON [{OUT.relative_to(ROOT)}]")
    parser.add_argument(
        "--venvs", type=_folder, default=ROOT, metavar="FOLDER", help="where the peers' environments are"
    )
    return parser


def _folder(text: str) -> Path:
    """Return the whole path: systems are started in folders of their own."""
    return Path(text).resolve()


def _chosen(parser: argparse.ArgumentParser, text: str, known: Collection[str]) -> list[str]:
    """Return the names in `text`, or all; refuse unknown ones."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return names or list(known)


def _versions(parser: argparse.ArgumentParser, systems: Sequence[System], venvs: Path) -> dict[str, dict[str, str]]:
    """Return the versions of each system's packages; end with what to do if they are not there."""
    try:
        return {system.name: versions_of(system, programs_of(system, venvs)) for system in systems}
    except RunError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
