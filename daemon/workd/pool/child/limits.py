"""The memory limit of one job, the worker's side: RLIMIT_DATA, so that one huge allocation is a `MemoryError`.

The supervisor watches the resident memory from outside (`watch.py`) and kills over the limit; that catches slow growth,
C code and whatever mapped memory, but looks only now and then. The resource limit catches the one allocation that
would have filled the machine before anybody looked, and turns it into an exception inside the task. It counts
reserved memory, which is why it stands at what the worker has already plus the limit.

Called by `worker.py` around a job that has a limit; jobs without one never come here.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_DATA_FIELD: Final = 5  # of /proc/self/statm: data and stack, in pages


def impose(limit_bytes: int) -> tuple[int, int]:
    """Let the process reserve `limit_bytes` more than it has; return what to give to `lift`.

    Where that can't be done (an earlier task has used up the descriptors, the limit is beyond all memory) it is left
    to the supervisor alone.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError, OverflowError):
        with open("/proc/self/statm", encoding="utf-8") as statm:  # noqa: PTH123 - in every job with a limit
            has_bytes = int(statm.read().split()[_DATA_FIELD]) * _PAGE_BYTES
        wanted, (_, hard) = has_bytes + limit_bytes, before
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    return before


def lift(before: tuple[int, int]) -> None:
    """Take the limit away again."""
    resource.setrlimit(resource.RLIMIT_DATA, before)
