"""Celery with its prefork pool: its app and its producer, which enqueues in bulk through a `group`.

Settings: a prefetch multiplier of 64 is what the chapter "Optimizing" of its user guide gives for many short tasks;
results and task events are off where nobody wants them, and so are gossip, mingle and heartbeats (in the command),
since nobody listens. `-O fair` is the pool's default, and the command line of 5.7 has nothing faster.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celery import Celery, group  # type: ignore[import-not-found, unused-ignore]

from bench.field import jobs, surroundings
from bench.field.systems import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPS = surroundings.results() is not surroundings.Results.OFF
PREFETCHED = 64  # of each process

app: Any = Celery("bench", broker=surroundings.url(), backend=surroundings.url() if KEEPS else None)
app.conf.update(
    task_ignore_result=not KEEPS,
    result_expires=surroundings.RESULT_TTL_S,
    task_acks_late=os.environ["BENCH_CELERY_ACKS"] == "late",
    worker_prefetch_multiplier=PREFETCHED,
    worker_send_task_events=False,
)
TASKS = {name: app.task(function, name=name) for name, function in jobs.SYNC.items()}


class _Producer(Producer):
    async def send(self, task: str, *args: int) -> Any:
        return TASKS[task].delay(*args)

    async def send_many(self, task: str, args_of_each: Sequence[tuple[int, ...]]) -> None:
        group(TASKS[task].s(*args) for args in args_of_each).apply_async()

    async def wait(self, handle: Any, timeout_s: float) -> Any:
        return handle.get(timeout=timeout_s)


def producer() -> Producer:
    """Make a producer."""
    return _Producer()
