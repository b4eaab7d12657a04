"""From the construction of a pool to its first result, in a fresh program and a second time in the same one.

Cold does not count the import of the pool's module, "with the import" does. Warm is the second pool of a program: the
standard library's forkserver is left over from the first, ours is new for each pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import table
from bench.programs import runner
from bench.sides import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(rounds: int) -> Iterator[table.Row]:
    """Measure every start method."""
    with runner("probe_start.py") as run:
        for method in METHODS:
            found = [(run("theirs", method), run("ours", method)) for _ in range(rounds + 1)][1:]
            for what, names, target in (
                (f"first result, {method}, cold", ("cold_s",), 1.0),
                ("    with the import", ("import_s", "cold_s"), 1.0),
                ("    warm", ("warm_s",), None),
            ):
                stdlib, own = (
                    [sum(side[name] for name in names) for side in sides] for sides in zip(*found, strict=True)
                )
                yield table.times(what, table.Pairs(stdlib, own), target)
