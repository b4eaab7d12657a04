"""What a worker weighs that has run one call: its PSS, where shared pages count in proportion."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.programs import runner
from bench.sides import METHODS
from bench.table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED_MB = 2.0  # more than theirs
MAX_ROUNDS = 3  # it hardly varies


def rows(rounds: int) -> Iterator[Row]:
    """Measure every start method."""
    with runner("probe_memory.py") as run:
        for method in METHODS:
            found = [(run("theirs", method), run("ours", method)) for _ in range(min(rounds, MAX_ROUNDS))]
            theirs, ours = (
                statistics.median(pss for workers in side for pss in workers) / 1e6 for side in zip(*found, strict=True)
            )
            yield Row(
                f"PSS of a worker, {method}",
                f"{theirs:.1f} MB",
                f"{ours:.1f} MB",
                f"{ours - theirs:+.1f} MB",
                f"<= {ALLOWED_MB:+g} MB",
                ours - theirs > ALLOWED_MB,
            )
