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
MAPS = 20  # of a small one, in a turn


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


def iterate(pool: AnyPool, calls: int) -> None:
    for _ in pool.imap(abs, range(calls), chunksize=1):
        pass


def iterate_unordered(pool: AnyPool, calls: int) -> None:
    for _ in pool.imap_unordered(abs, range(calls), chunksize=1):
        pass


def cases(part: float = 1.0) -> list[Case]:
    """Return what is measured, or a part of each: calls of builtins that do next to nothing."""
    calls, large_calls, maps = (max(1, int(amount * part)) for amount in (CALLS, LARGE_CALLS, MAPS))
    megabyte, buffer = bytes(MEGABYTE), bytearray(MEGABYTE)
    one_by_one = partial(call_one_by_one, function=abs, calls=[(number,) for number in range(calls)])
    arguments = partial(call_one_by_one, function=len, calls=[(megabyte,)] * large_calls)
    results = partial(call_one_by_one, function=bytes, calls=[(MEGABYTE,)] * large_calls)
    there_and_back = partial(call_one_by_one, function=bytes, calls=[(megabyte,)] * large_calls)
    buffers = partial(call_one_by_one, function=bytearray, calls=[(buffer,)] * large_calls)
    waited_for = partial(call_and_wait, function=abs, args=(1,), times=calls // 5)
    large_waited_for = partial(call_and_wait, function=bytes, args=(megabyte,), times=large_calls)
    return [
        Case("apply_async, no-ops one by one", one_by_one, calls, "calls", 1.5),
        Case("apply, no-ops, each waited for", waited_for, calls // 5, "calls"),
        Case("imap_unordered(chunksize=1), no-ops", partial(iterate_unordered, calls=calls), calls, "calls", 2.0),
        Case("imap(chunksize=1), no-ops", partial(iterate, calls=calls), calls, "calls"),
        Case("map, 10,000 ints", partial(map_numbers, length=SMALL, times=maps), SMALL * maps, "items", 1.0),
        Case("map, 100,000 ints", partial(map_numbers, length=MEDIUM, times=4), MEDIUM * 4, "items", 1.0),
        Case("map, 1,000,000 ints", partial(map_numbers, length=LARGE, times=1), LARGE, "items", 1.0),
        Case("starmap, 100,000 pairs", starmap_numbers, MEDIUM, "items", 1.0),
        Case("arguments of 1 MB", arguments, large_calls, "MB", 0.9),
        Case("results of 1 MB", results, large_calls, "MB", 0.9),
        Case("1 MB there and back", there_and_back, 2 * large_calls, "MB", 0.9),
        Case("1 MB there and back, each waited for", large_waited_for, 2 * large_calls, "MB", 0.9),
        Case("1 MB bytearray there and back", buffers, 2 * large_calls, "MB", 0.9),
    ]


def rows(processes: int, rounds: int, part: float = 1.0) -> Iterator[table.Row]:
    """Measure every case."""
    with both(processes) as (stdlib, own):
        for case in cases(part):
            pairs = alternate(rounds, partial(timed, case.work, stdlib), partial(timed, case.work, own))
            yield table.rates(case.what, case.amount, case.unit, pairs, case.target)
