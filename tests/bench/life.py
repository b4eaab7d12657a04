"""Deaths and ends: how soon a killed worker's slot works again, and how long it takes to be rid of a pool."""

from __future__ import annotations

import statistics
import time
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from bench import table
from bench.programs import runner
from bench.sides import alternate, ours, theirs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.sides import AnyPool

KILLS = {"busy": 20, "idle": 10}
HANG_S = 30.0
MIN_HANG_S = 5.0  # so much a slow machine needs for a few kills
REFILL_TARGET_S = 0.100


def rows(processes: int, rounds: int, part: float = 1.0) -> Iterator[table.Row]:
    """Measure the deaths, then the ends."""
    with runner("probe_refill.py", max(MIN_HANG_S, HANG_S * part)) as run:
        for state, most in KILLS.items():
            kills = max(1, int(most * part))
            yield _refill(state, *(_times_s(run, side, state, str(kills)) for side in ("theirs", "ours")))
    closed = alternate(rounds, lambda: _close(theirs(processes)), lambda: _close(ours(processes)))
    yield table.times("close() and join(), idle", closed)
    terminated = alternate(rounds, lambda: _terminate(theirs(processes)), lambda: _terminate(ours(processes)))
    yield table.times("terminate() and join(), idle", terminated)


def _times_s(run: Callable[..., list[float]], *arguments: str) -> list[float] | None:
    try:
        return run(*arguments)
    except TimeoutExpired:  # which the standard library's pool does when its idle worker is killed
        return None


def _refill(state: str, theirs_s: Sequence[float] | None, ours_s: Sequence[float] | None) -> table.Row:
    """Show the time from the kill to an answer of the next worker; None is a side that hangs."""
    stdlib, own = (None if times_s is None else statistics.median(times_s) for times_s in (theirs_s, ours_s))
    return table.Row(
        f"refill after SIGKILL, {state} worker",
        _milliseconds(stdlib),
        _milliseconds(own),
        "" if stdlib is None or own is None else f"{stdlib / own:.2f} x",
        f"<= {REFILL_TARGET_S * 1000:.0f} ms",
        own is None or own > REFILL_TARGET_S,
    )


def _milliseconds(time_s: float | None) -> str:
    return "hangs" if time_s is None else f"{time_s * 1000:.1f} ms"


def _close(pool: AnyPool) -> float:
    _use(pool)
    start = time.perf_counter()
    pool.close()
    pool.join()
    return time.perf_counter() - start


def _terminate(pool: AnyPool) -> float:
    _use(pool)
    start = time.perf_counter()
    pool.terminate()
    pool.join()
    return time.perf_counter() - start


def _use(pool: AnyPool) -> None:
    pool.map(abs, range(100), 1)
