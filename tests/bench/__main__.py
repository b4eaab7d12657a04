"""`make bench`: workd beside `multiprocessing.Pool`, in one run on one machine.

    make bench                          all parts
    make bench ARGS="pool"              one of them, or several: pool, start, memory, life, redis
    make bench ARGS="pool --rounds 15"  more rounds where the machine is noisy
    make bench ARGS="--quick"           all parts in under a minute: to see that it runs, not to believe

Trust the ratios, not the rates: machines are shared and noisy. A ratio over 1 means that workd is better; it is the
median over rounds in which the two sides took turns, so it need not be the quotient of the two medians beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

FOLDER = str(Path(__file__).parent)
sys.path[:] = [str(Path(FOLDER).parent), *(entry for entry in sys.path if entry != FOLDER)]

from bench import life, memory, pool, start, table, through_redis  # noqa: E402 - found through the line above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Part = tuple[str, "Callable[[argparse.Namespace], Iterable[table.Row]]"]

PARTS: dict[str, Part] = {
    "pool": ("In memory", lambda options: pool.rows(options.workers, options.rounds, options.part)),
    "start": ("The first result", lambda options: start.rows(options.rounds)),
    "memory": ("Memory", lambda options: memory.rows(options.rounds)),
    "life": ("Deaths and ends", lambda options: life.rows(options.workers, options.rounds, options.part)),
    "redis": (
        "Through Redis",
        lambda options: through_redis.rows(options.jobs, options.workers, options.drains, options.round_trips),
    ),
}


QUICK = {"rounds": 1, "jobs": 4_000, "drains": 1, "round_trips": 20, "part": 0.05}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="how often each side has its turn")
    parser.add_argument("--jobs", type=int, default=40_000, help="messages through Redis")
    parser.add_argument("--drains", type=int, default=3, help="how often a full queue is drained, of each kind")
    parser.add_argument("--round-trips", type=int, default=500, help="messages for the latency through Redis")
    parser.add_argument("--quick", action="store_true", help="one round of little work; the defaults of all others")
    parser.set_defaults(part=1.0)
    if parser.parse_args().quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.workers} workers")
    try:
        missed = sum(table.show(PARTS[name][0], PARTS[name][1](options)) for name in options.parts or PARTS)
    except through_redis.DaemonError as error:
        sys.exit(f"make bench: {error}")
    print(
        f"\n{missed} {'target was' if missed == 1 else 'targets were'} missed" if missed else "\nno target was missed"
    )


if __name__ == "__main__":
    main()
