"""What a call of a local pool raises whose worker is dead."""

from __future__ import annotations

import dataclasses

from workd.errors import JobTimeoutError, MemoryLimitError, WorkerDiedError
from workd.pool.deaths import Crashed, Killed, Lost, OverMemory, Suspected, TimedOut


def error_of(task: str, how: Lost) -> BaseException:
    """Return the error of a call named `task`."""
    match how:
        case TimedOut(timeout_s, died):
            return JobTimeoutError(task, timeout_s, died)
        case OverMemory(limit_bytes, rss_bytes, died):
            return MemoryLimitError(task, limit_bytes, rss_bytes, died)
        case Killed(why, died) if why:
            # It had hardly been started when its worker was killed for the call before it.
            return WorkerDiedError(task, dataclasses.replace(died, note=f"workd killed it for another call: {why}"))
        case Crashed(died) | Killed(_, died) | Suspected(_, died):
            return WorkerDiedError(task, died)
