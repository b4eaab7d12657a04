"""How much memory a process has, asked of the kernel from outside.

Used by `watch.py` and `boots.py` for pools that have a memory limit or recycle by growth, and by `stats`. A read takes
some ten microseconds and never waits.
"""

from __future__ import annotations

import os
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, what it shares with its forkserver included; 0 if it is gone.

    Source: /proc/PID/statm, second field, proc_pid_statm(5). The pid must not have been reaped by anybody else.
    """
    try:
        with open(f"/proc/{pid}/statm", encoding="utf-8") as statm:  # noqa: PTH123 - many times a second
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0
