"""From the settings to what the daemon's parts are made with, and what is worth a word about both.

Called by the supervisor alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from workd.consumer import Source
from workd.intake import Limits
from workd.log import get_logger
from workd.pool.owner import PoolOptions
from workd.pool.requests import TASK_WORK, LoadSpec
from workd.schedule import DeadLimits
from workd.settings import usable_cores
from workd.sizes import bounds
from workd.terms import too_late, without_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd.pool.core import ProcessPool
    from workd.settings import Settings

SHOWN_TASKS = 20
WORKER_NICE = 5  # probes are answered on a machine whose cores are full
RESULT_HEADROOM_BYTES = 1024 * 1024  # an outcome's frame is larger than the value in it

_log = get_logger("workd.supervisor")


def limits_of(settings: Settings) -> Limits:
    """Return what holds for messages and tasks that say nothing themselves."""
    return Limits(
        timeout_s=settings.timeout_s,
        max_crashes=settings.max_crashes,
        max_takeovers=settings.max_takeovers,
        unknown_task_s=settings.unknown_task_s,
        max_message_bytes=settings.max_message_bytes,
        cancel_grace_s=settings.cancel_grace_s,
        async_concurrency=settings.async_concurrency,
        signing=settings.signing,
    )


def source_of(settings: Settings, daemon_id: str) -> Source:
    """Return where jobs come from."""
    return Source(
        settings.redis_url,
        daemon_id,
        settings.queues,
        settings.inboxes,
        settings.lease_s,
        DeadLimits(settings.dead_max_bytes, settings.dead_max_age_s),
        settings.require_redis,
        settings.queue_weights,
    )


def pool_options_of(settings: Settings, daemon_id: str) -> PoolOptions:
    """Return what the pool and its workers are made with."""
    options = {
        "modules": list(settings.modules),
        "daemon_id": daemon_id,
        "max_result_bytes": settings.max_message_bytes,
        "log_level": settings.log_level,
        "log_format": settings.log_format,
        "queues": list(settings.queues),
    }
    spec = LoadSpec(TASK_WORK, settings.modules, options, path=(os.getcwd(),))  # noqa: PTH109 - text for sys.path
    return PoolOptions(
        bounds(settings, usable_cores()).first,
        spec,
        nice=WORKER_NICE,
        boot_timeout_s=settings.boot_timeout_s,
        max_tasks=settings.worker_max_jobs or None,
        max_age_s=settings.worker_max_age_s or None,
        max_growth_bytes=settings.worker_max_growth_bytes or None,
        memory_limit_bytes=settings.memory_limit_bytes or None,
        max_result_bytes=settings.max_message_bytes + RESULT_HEADROOM_BYTES,
        return_waiting=True,
        reads_seldom=True,
    )


def tell_of_tasks(catalogue: Mapping[str, Mapping[str, Any]], settings: Settings, pool: ProcessPool) -> None:
    """Say in the log which tasks there are, and what they ask for in vain."""
    if catalogue:
        _log.info("tasks are loaded", tasks=sorted(catalogue)[:SHOWN_TASKS], count=len(catalogue))
    else:
        _log.warning("the task modules define no task: every message will be a dead letter")
    worker_bytes = max((worker.rss_bytes for worker in pool.stats().workers), default=0)
    if tight := without_room(catalogue, settings.memory_limit_bytes, worker_bytes):
        what = "a memory limit is less than a worker has before its first job: raise it"
        _log.warning(what, tasks=tight[:SHOWN_TASKS], worker_bytes=worker_bytes)
    if late := too_late(catalogue, settings.timeout_s):
        what = "a soft timeout never comes, since timeout_s ends the run before: give the task a timeout of its own"
        _log.warning(what, tasks=late[:SHOWN_TASKS], timeout_s=settings.timeout_s)
