"""Tasks that leave processes behind."""

from __future__ import annotations

import os
import signal
import time

from workd import task


@task(result_ttl=60)
def leave(count: int) -> int:
    """Leave grandchildren behind whose parents have ended, and which end a little later."""
    for _ in range(count):
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                os.setsid()
                time.sleep(0.1)
            os._exit(0)
        os.waitpid(child, 0)
    return count


@task(max_crashes=1)
def die_beside_a_child() -> None:
    """Be killed while a child of this worker runs."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
