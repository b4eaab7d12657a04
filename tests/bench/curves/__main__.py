"""workd's own curves, alone on this machine.

    python tests/bench/curves                     all of them
    python tests/bench/curves payloads distance   some of them
    python tests/bench/curves --quick             a quarter of the work

Results are printed as they come, and saved as JSON in docs/benchmarks/curves.json (--out FILE). Curves that are not
named keep what the file has of them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

TESTS = Path(__file__).parents[2]
sys.path[:] = [str(TESTS), *(entry for entry in sys.path if entry != str(Path(__file__).parent))]

from bench.curves import (  # noqa: E402 - found through the line above
    cpu_work,
    distance,
    engine,
    fleet,
    growth,
    idle,
    lifetimes,
    mapped,
    memory,
    payloads,
)
from bench.curves.options import QUICK_PART, Options  # noqa: E402
from bench.machine import describe  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.curves.figures import Figure

OUT = TESTS.parent / "docs" / "benchmarks" / "curves.json"

CURVES: dict[str, Callable[[Options], Iterator[Figure]]] = {
    "cpu": cpu_work.figures,
    "lifetimes": lifetimes.figures,
    "memory": memory.figures,
    "payloads": payloads.figures,
    "distance": distance.figures,
    "workers": growth.workers,
    "daemons": growth.daemons,
    "backlog": growth.backlog,
    "queues": growth.queues,
    "map": mapped.figures,
    "fleet": fleet.figures,
    "idle": idle.figures,
    "stored": engine.stored,
    "due": engine.due,
    "takeover": engine.takeover,
}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        prog="python tests/bench/curves", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(CURVES)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each point is measured (default: 5)")
    parser.add_argument("--quick", action="store_true", help=f"the same as --part {QUICK_PART:g}")
    parser.add_argument("--part", type=float, metavar="P", help="do this part of the work in each round [1]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default: {OUT.relative_to(TESTS.parent)}")
    options = parser.parse_args()
    if unknown := set(options.curves) - CURVES.keys():
        parser.error(f"there is no curve {', '.join(sorted(unknown))}; there are {', '.join(CURVES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # not without cleaning up
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # daemons would compile everything again at each start
    size = Options(options.rounds, options.part or (QUICK_PART if options.quick else 1.0))
    for name in options.curves or CURVES:
        start = time.perf_counter()
        found = []
        for figure in CURVES[name](size):
            print(figure, flush=True)
            found.append(figure.as_json())
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        save(options.out, name, {"rounds": size.rounds, "quick": size.quick, "figures": found})


def save(path: Path, name: str, curve: dict[str, Any]) -> None:
    """Put one curve into the file, beside what is there."""
    kept = json.loads(path.read_text())["curves"] if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": describe(), "curves": dict(sorted((kept | {name: curve}).items()))}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
