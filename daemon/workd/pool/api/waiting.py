"""Threads that wait for something another thread will do, without a lock that both of them take.

A list holds one locked lock for each waiting thread; `wake` opens them all. Who wakes changes the state first and looks
at the list afterwards; who waits puts its lock into the list first and looks at the state afterwards: so no wake-up is
lost. Most calls of a pool are never waited for one by one, and an empty list costs a twentieth of a
`threading.Event`. No lock is held while somebody else's code runs, so a signal handler or a finalizer that interrupts
any of this may use the same objects.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

    Waiters = list[LockType]


def wait(waiters: Waiters, is_there: Callable[[], object], timeout_s: float | None = None) -> bool:
    """Wait until `is_there()`, or for `timeout_s` seconds; return whether it is."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while not is_there():
        left_s = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        lock = Lock()
        lock.acquire()
        waiters.append(lock)
        try:
            if not is_there() and not lock.acquire(timeout=left_s):
                return bool(is_there())
        finally:
            with suppress(ValueError):  # who woke us has taken it out
                waiters.remove(lock)
    return True


def wake(waiters: Waiters) -> None:
    """Let every waiting thread look again."""
    while waiters:
        try:
            lock = waiters.pop()
        except IndexError:  # it went away by itself
            return
        lock.release()
