"""A program whose workers load nothing by themselves. Prints the PSS of each in bytes as JSON; started by `memory.py`.

python probe_memory.py theirs|ours forkserver|spawn|fork
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

WORKERS = 2


def hold(seconds: float) -> int:
    """Be busy, so that the next call goes to another worker; say which this one is."""
    time.sleep(seconds)
    return os.getpid()


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, what it shares with others counted in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


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
    print(json.dumps([pss_bytes(pid) for pid in sorted(pids)]))
    pool.terminate()
    pool.join()


if __name__ == "__main__":
    main()
