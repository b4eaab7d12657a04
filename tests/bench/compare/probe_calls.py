"""A program that calls through `workd.Pool`. Prints the seconds per call as JSON; started by `measures.py`.

What the pool of a revision does not have is left out.

python probe_calls.py WORKERS CALLS ITEMS
"""

import json
import sys
import time
from collections.abc import Callable

from workd import Pool


def seconds_each(work: Callable[[], object], count: int) -> float:
    """Do it once for nothing (caches, estimates of run times), and then for the clock."""
    work()
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / count


def main() -> None:
    """Measure one way of calling after the other."""
    workers, calls, items = map(int, sys.argv[1:])
    arguments = [(number,) for number in range(calls)]
    numbers = list(range(items))
    with Pool(workers) as pool:

        def call_one_by_one() -> None:
            for result in [pool.apply_async(abs, args) for args in arguments]:
                result.get()

        def iterate() -> None:
            for _ in pool.imap_unordered(abs, range(calls), chunksize=1):
                pass

        ways: dict[str, tuple[Callable[[], object], int]] = {
            "apply_async": (call_one_by_one, calls),
            "imap_unordered": (iterate, calls),
            "map": (lambda: pool.map(abs, numbers), items),
        }
        found = {name: seconds_each(*way) for name, way in ways.items() if hasattr(pool, name)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
