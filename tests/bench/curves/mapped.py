"""`RedisPool.map` of 100,000 small integers, end to end, against the standard library's `Pool.map` in memory.

Each item is a job of its own for RedisPool, so "the same chunk count" is a chunk of one item for the standard library.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

from bench.curves.figures import Figure, Goal
from bench.curves.stage import stage
from workd.client.redis_pool import RedisPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.curves.options import Options

ITEMS = 100_000
WORKERS = 2
GOAL = 0.1


def figures(options: Options) -> Iterator[Figure]:
    """Measure both sides in turns; nothing is scaled in a quick run but the rounds are few."""
    items = list(range(options.jobs(ITEMS)))
    with (
        stage(workers=WORKERS) as ours,
        RedisPool(ours.server.url) as fleet,
        multiprocessing.get_context("forkserver").Pool(WORKERS) as stdlib,
    ):
        fleet.map("same", items[:1_000])
        stdlib.map(abs, items[:1_000], 1)
        found = [
            (
                _rate(lambda: fleet.map("same", items), items),
                _rate(lambda: stdlib.map(abs, items, 1), items),
                _rate(lambda: stdlib.map(abs, items), items),
            )
            for _ in range(options.rounds)
        ]
    own, ones, chunks = zip(*found, strict=True)
    yield Figure("map", f"RedisPool.map of {len(items):,} ints", "items/s", own)
    yield Figure("map", "stdlib Pool.map, as many chunks (of 1 item)", "items/s", ones)
    yield Figure("map", "stdlib Pool.map, default chunks", "items/s", chunks)
    ratios = tuple(mine / theirs for mine, theirs in zip(own, ones, strict=True))
    yield Figure("map", "RedisPool : stdlib, same chunk count", "x", ratios, goal=Goal(at_least=GOAL))


def _rate(work: Callable[[], list[int]], items: list[int]) -> float:
    start = time.perf_counter()
    if work() != items:
        raise AssertionError("map returned something else than the items")
    return len(items) / (time.perf_counter() - start)
