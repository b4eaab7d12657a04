"""A program that kills the one worker of its pool again and again. Prints the seconds until the next one as JSON.

python probe_refill.py theirs|ours idle|busy KILLS
"""

import json
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

METHOD = "forkserver"
STEADY_S = 1.2  # one that lives longer than a second is no false start, after which workd would wait for a while
POLL_S = 0.002


def say_and_sleep(path: str) -> None:
    """Say that the call has started, and do not end."""
    Path(path).touch()
    time.sleep(600)


def make_busy(pool: Any, path: Path) -> None:
    """Return once the worker is in the middle of a call."""
    pool.apply_async(say_and_sleep, (str(path),))
    while not path.exists():
        time.sleep(POLL_S)


def main() -> None:
    """Kill, ask for the pid of whoever works now, and so on."""
    side, state, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
    context = multiprocessing.get_context(METHOD)
    pool: Any
    if side == "theirs":
        pool = context.Pool(1)
    else:
        from workd import Pool

        pool = Pool(1, context=context)
    times_s = []
    with tempfile.TemporaryDirectory() as folder:
        pid = pool.apply(os.getpid)
        for number in range(kills):
            if state == "busy":
                make_busy(pool, Path(folder, str(number)))
            else:
                time.sleep(STEADY_S)
            pidfd = os.pidfd_open(pid)
            start = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            select.select([pidfd], [], [])  # it is dead now: one that is still dying may take the call along
            pid = pool.apply(os.getpid)
            times_s.append(time.perf_counter() - start)
            os.close(pidfd)
    print(json.dumps(times_s))
    pool.terminate()
    pool.join()


if __name__ == "__main__":
    main()
