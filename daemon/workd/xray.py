"""What the daemon is doing at this moment, for people: the jobs that run, and where.

Called by the supervisor, in its loop; it reads the pool's books alone and asks no worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.log import get_logger
from workd.pool.reports import running_jobs

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool

log = get_logger("workd.xray")


def write_to_log(pool: ProcessPool) -> None:
    """Write a line for each job that runs, and one with how many there are."""
    jobs = list(running_jobs(pool))
    for job, ran_s in jobs:
        facts = {"job_id": job.ref.job_id, "task": job.task, "delivery": job.ref.delivery}
        log.info("x-ray: a job runs", worker_pid=job.worker_pid, seconds=round(ran_s, 3), **facts)
    log.info("x-ray", running=len(jobs), waiting=len(pool.waiting), workers=pool.size)
