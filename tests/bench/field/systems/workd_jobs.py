"""workd: its tasks. Apart from the producer, which its workers, unlike those of others, need not load."""

from __future__ import annotations

from bench.field import jobs
from workd_tasks import task

for function in jobs.SYNC.values():
    task(function)
