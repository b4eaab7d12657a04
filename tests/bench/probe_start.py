"""A program with a pool, as people write one. Prints how long its first result took as JSON; started by `start.py`.

python probe_start.py theirs|ours forkserver|spawn|fork
"""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402 - after the clock
import sys  # noqa: E402
from typing import Any  # noqa: E402

SIDE, METHOD = sys.argv[1:3]

if SIDE == "theirs":
    import multiprocessing.pool
else:
    import multiprocessing

    from workd import Pool

IMPORTED = time.perf_counter()


def first_result_s() -> float:
    """Return the seconds from the construction of a pool to its first result."""
    start = time.perf_counter()
    context = multiprocessing.get_context(METHOD)
    pool: Any = context.Pool(2) if SIDE == "theirs" else Pool(2, context=context)
    pool.apply(abs, (-1,))
    end = time.perf_counter()
    pool.terminate()
    pool.join()
    return end - start


if __name__ == "__main__":
    cold_s = first_result_s()
    print(json.dumps({"import_s": IMPORTED - BEGAN, "cold_s": cold_s, "warm_s": first_result_s()}))
