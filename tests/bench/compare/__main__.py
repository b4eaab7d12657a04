"""`make bench-compare REV=…`: this tree, as it is on disk, beside another revision of it.

    make bench-compare REV=HEAD~3                           all parts
    make bench-compare REV=main ARGS="drain calls"          some: calls, start, memory, drain, results, enqueue, latency
    make bench-compare REV=main ARGS="drain --pairs 15"     more pairs where the machine is noisy

The two take turns, and who is first does, too. A ratio over 1 means that this tree is better; it is the median over the
pairs, and ± is half of their range. Marked is what differs by more than that: by chance, one measure in fifteen does.
Both are measured by this tree's programs. A dash stands for what a revision lacks; why is said below the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

FOLDER = str(Path(__file__).parent)
sys.path[:] = [str(Path(FOLDER).parents[1]), *(entry for entry in sys.path if entry != FOLDER)]

from bench.compare import trees  # noqa: E402 - found through the line above
from bench.compare.measures import PARTS, Part  # noqa: E402
from bench.compare.pairs import LAYOUT, WORSE, Compared  # noqa: E402
from support.servers import Server, valkey_binary  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.compare.trees import Tree

INTERRUPTED = 130


class Comparison:
    """Two trees, a server, and what one or the other could not do."""

    def __init__(self, this: Tree, other: Tree, server: Server, options: argparse.Namespace) -> None:
        """Start with nothing known."""
        self._this = this
        self._other = other
        self._server = server
        self._options = options
        self.lacking: dict[tuple[str, str], str] = {}  # part and tree: why

    def compare(self, name: str) -> Iterable[Compared]:
        """Measure a part of both in turn; the first pair is for nothing (caches)."""
        part = PARTS[name]
        costs: defaultdict[tuple[str, str], list[float | None]] = defaultdict(list)
        for number in range(self._options.pairs + 1):
            order = (self._this, self._other) if number % 2 else (self._other, self._this)
            for tree in order:
                found = self._take(name, part, tree)
                for key in part.measures if number else ():
                    costs[key, tree.name].append(found.get(key))
        for key, measure in part.measures.items():
            yield Compared(measure, costs[key, self._other.name], costs[key, self._this.name])

    def _take(self, name: str, part: Part, tree: Tree) -> dict[str, float]:
        if (name, tree.name) in self.lacking:
            return {}
        try:
            found = part.take(tree, self._server, self._options)
            if missing := part.measures.keys() - found.keys():
                self.lacking[name, f"{tree.name}, in part"] = f"it has no {', '.join(sorted(missing))}"
            return found
        except trees.LackingError as error:
            self.lacking[name, tree.name] = str(error)
            return {}


def main() -> int:
    """Measure and print; 1 if something is worse or this tree lacks something."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the checked out tree is to be removed
    try:
        with trees.both(options.revision) as (this, other), Server(valkey_binary()) as server:
            return _compare(Comparison(this, other, server, options), options)
    except trees.RevisionError as error:
        sys.stderr.write(f"bench-compare: {error}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _compare(comparison: Comparison, options: argparse.Namespace) -> int:
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.workers} workers")
    print(f"\n{LAYOUT.format('', options.revision[:18], 'this tree', 'ratio', '', '').rstrip()}")
    worse = 0
    for name in options.parts or PARTS:
        for line in comparison.compare(name):
            print(line, flush=True)
            worse += line.verdict == WORSE
    for (name, tree), why in comparison.lacking.items():
        print(f"\n{name}, {tree}: {why}")
    print(f"\n{worse or 'nothing'} {'are' if worse > 1 else 'is'} worse by more than the spread")
    return int(bool(worse) or any(tree == trees.THIS for _, tree in comparison.lacking))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", metavar="REV", help="what to compare with: anything that git takes for a commit")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5, help="how often each tree has its turn")
    parser.add_argument("--jobs", type=int, default=40_000, help="messages through Redis")
    parser.add_argument("--round-trips", type=int, default=300, help="messages for the latency through Redis")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
