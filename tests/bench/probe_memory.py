"""A program whose workers load nothing by themselves. Prints the PSS of each in bytes as JSON; started by `memory.py`.

python probe_memory.py theirs|ours forkserver|spawn|fork
"""

import json
import os
import sys
import time
from typing import Any

WORKERS = 2


def hold(seconds: float) -> int:
    """Be busy, so that the next call goes to another worker; say which this one is."""
    time.sleep(seconds)
    return os.getpid()


def main() -> None:
    """Have each worker run a call, then weigh them all."""
    import multiprocessing.pool  # here, not at the top: workers import this module

    side, method = sys.argv[1:3]
    context = multiprocessing.get_context(method)
    pool: Any
    if side == "theirs":
        pool = context.Pool(WORKERS)
    else:
        from workd import Pool

        pool = Pool(WORKERS, context=context)
    pids: set[int] = set()
    while len(pids) < WORKERS:
        pids |= set(pool.map(hold, [0.05] * 2 * WORKERS, 1))
    from bench.processes import pss_bytes  # now: what it loads must not be in forked workers

    print(json.dumps([pss_bytes(pid) for pid in sorted(pids)]))
    pool.terminate()
    pool.join()


if __name__ == "__main__":
    main()
