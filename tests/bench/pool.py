"""Throughput in memory: calls and bytes through pools that are up, on either side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import table
from bench.sides import alternate, both, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.sides import AnyPool

CALLS = 5_000
SMALL, MEDIUM, LARGE = 10_000, 100_000, 1_000_000
MEGABYTE = 1_000_000
LARGE_CALLS = 100


@dataclass(frozen=True, slots=True)
class Case:
    """One way to use a pool; `work` does `amount` of `unit`."""

    what: str
    work: Callable[[AnyPool], object]
    amount: float
    unit: str
    target: float | None = None


def call_one_by_one(pool: AnyPool, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:
    results = [pool.apply_async(function, args) for args in calls]
    for result in results:
        result.get()


def call_and_wait(pool: AnyPool, function: Callable[..., Any], args: tuple[Any, ...], times: int) -> None:
    for _ in range(times):
        pool.apply(function, args)


def map_numbers(pool: AnyPool, length: int, times: int) -> None:
    numbers = list(range(length))
    for _ in range(times):
        pool.map(abs, numbers)


def starmap_numbers(pool: AnyPool) -> None:
    pool.starmap(divmod, [(number, 7) for number in range(MEDIUM)])


def iterate(pool: AnyPool) -> None:
    for _ in pool.imap(abs, range(CALLS), chunksize=1):
        pass


def iterate_unordered(pool: AnyPool) -> None:
    for _ in pool.imap_unordered(abs, range(CALLS), chunksize=1):
        pass


def cases() -> list[Case]:
    """Return what is measured; every function that is called is a builtin that does next to nothing."""
    megabyte, buffer = bytes(MEGABYTE), bytearray(MEGABYTE)
    one_by_one = partial(call_one_by_one, function=abs, calls=[(number,) for number in range(CALLS)])
    arguments = partial(call_one_by_one, function=len, calls=[(megabyte,)] * LARGE_CALLS)
    results = partial(call_one_by_one, function=bytes, calls=[(MEGABYTE,)] * LARGE_CALLS)
    there_and_back = partial(call_one_by_one, function=bytes, calls=[(megabyte,)] * LARGE_CALLS)
    buffers = partial(call_one_by_one, function=bytearray, calls=[(buffer,)] * LARGE_CALLS)
    waited_for = partial(call_and_wait, function=abs, args=(1,), times=1_000)
    large_waited_for = partial(call_and_wait, function=bytes, args=(megabyte,), times=LARGE_CALLS)
    return [
        Case("apply_async, no-ops one by one", one_by_one, CALLS, "calls", 1.5),
        Case("apply, no-ops, each waited for", waited_for, 1_000, "calls"),
        Case("imap_unordered(chunksize=1), no-ops", iterate_unordered, CALLS, "calls", 2.0),
        Case("imap(chunksize=1), no-ops", iterate, CALLS, "calls"),
        Case("map, 10,000 ints", partial(map_numbers, length=SMALL, times=20), SMALL * 20, "items", 1.0),
        Case("map, 100,000 ints", partial(map_numbers, length=MEDIUM, times=4), MEDIUM * 4, "items", 1.0),
        Case("map, 1,000,000 ints", partial(map_numbers, length=LARGE, times=1), LARGE, "items", 1.0),
        Case("starmap, 100,000 pairs", starmap_numbers, MEDIUM, "items", 1.0),
        Case("arguments of 1 MB", arguments, LARGE_CALLS, "MB", 0.9),
        Case("results of 1 MB", results, LARGE_CALLS, "MB", 0.9),
        Case("1 MB there and back", there_and_back, 2 * LARGE_CALLS, "MB", 0.9),
        Case("1 MB there and back, each waited for", large_waited_for, 2 * LARGE_CALLS, "MB", 0.9),
        Case("1 MB bytearray there and back", buffers, 2 * LARGE_CALLS, "MB", 0.9),
    ]


def rows(processes: int, rounds: int) -> Iterator[table.Row]:
    """Measure every case."""
    with both(processes) as (stdlib, own):
        for case in cases():
            pairs = alternate(rounds, partial(timed, case.work, stdlib), partial(timed, case.work, own))
            yield table.rates(case.what, case.amount, case.unit, pairs, case.target)
