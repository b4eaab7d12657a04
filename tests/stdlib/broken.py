"""Pools that are worse than CPython's, each in one way, to show that the harness would see it.

Loaded by `swap.py` in an interpreter of `shadow.py`, when a case makes its first pool.
"""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any

from stdlib.swap import STDLIB_POOL

_THREAD_S = 1.0  # the program's end waits for it
_PROCESS_S = 60.0


class UnmakeablePool:
    """No case can pass with it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Fail."""
        msg = "this pool can't be made"
        raise NotImplementedError(msg)


class WrongPool(STDLIB_POOL):  # type: ignore[misc]
    """CPython's, but for the order of a map's values."""

    def map(self, *args: Any) -> list[Any]:
        """Return the right values in the wrong order."""
        return list(reversed(super().map(*args)))


class UntidyPool(STDLIB_POOL):  # type: ignore[misc]
    """CPython's, but it leaves a thread and a process behind, and a thread of its own fails."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Leave things behind."""
        super().__init__(*args, **options)
        threading.Thread(target=time.sleep, args=(_THREAD_S,)).start()
        threading.Thread(target=int, args=("not a number",)).start()
        self._left_behind = subprocess.Popen(["sleep", str(_PROCESS_S)])
