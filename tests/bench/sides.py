"""The two pools that are compared, and how they take turns.

A machine is shared and its speed drifts, so neither side is ever measured alone: theirs, ours, theirs, ours, ….
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeAlias

from bench.table import Pairs
from workd.pool.local import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.pool import Pool as StdlibPool

    AnyPool: TypeAlias = StdlibPool | Pool

P = ParamSpec("P")

METHODS = ("forkserver", "spawn", "fork")


def theirs(processes: int, method: str = "forkserver") -> StdlibPool:
    """Make the standard library's pool."""
    return multiprocessing.get_context(method).Pool(processes)


def ours(processes: int, method: str = "forkserver") -> Pool:
    """Make workd's."""
    return Pool(processes, context=multiprocessing.get_context(method))


@contextmanager
def both(processes: int) -> Iterator[tuple[StdlibPool, Pool]]:
    """Run one pool of each side; the one that is not asked sleeps."""
    with theirs(processes) as stdlib, ours(processes) as own:
        yield stdlib, own


def timed(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Return the seconds that a call of `work` takes."""
    start = time.perf_counter()
    work(*args, **kwargs)
    return time.perf_counter() - start


def alternate(rounds: int, stdlib: Callable[[], float], own: Callable[[], float]) -> Pairs:
    """Measure both in turn, `rounds` times and once before that for nothing (caches, pages, estimates of run times)."""
    pairs = [(stdlib(), own()) for _ in range(rounds + 1)][1:]
    return Pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs])
