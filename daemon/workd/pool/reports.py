"""Which jobs run, and what they have said of their progress since somebody looked last: read from the boards.

Called by the daemon about once a second. A worker that has said nothing costs one short read, an idle one none.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from workd.pool import board

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd.pool.core import ProcessPool
    from workd.pool.slot import Job

_MOST_JOBS = 64  # looked at of one worker: far more run at once than there are places on its board


def new_reports(pool: ProcessPool) -> Iterator[tuple[Job, bytes]]:
    """Yield jobs with what they have said, as their workers wrote it: nobody has checked it."""
    for tenant in pool.tenants():
        fd = tenant.channel.board_fd
        if not tenant.jobs or fd < 0:
            continue
        count = board.reports_count(fd)
        if count == tenant.reports_seen:
            continue
        tenant.reports_seen = count
        for job in islice(tenant.jobs.values(), _MOST_JOBS):
            if text := board.read_report(fd, job.key):
                yield job, text


def running_jobs(pool: ProcessPool) -> Iterator[tuple[Job, float]]:
    """Yield the jobs that workers are on, each with the seconds that it has run at the most."""
    now = asyncio.get_running_loop().time()
    for tenant in pool.tenants():
        if tenant.shares is not None:
            yield from ((job, now - job.since) for job in tenant.jobs.values())
        elif tenant.head is not None:
            yield tenant.head, now - tenant.head_since
