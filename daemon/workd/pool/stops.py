"""Asking jobs to stop, softly: those that run see it on their worker's board.

Called by the daemon's dispatcher and its drain. Nothing here kills: `ProcessPool.cancel` does, for who does not listen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.pool import board

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool
    from workd.pool.slot import Job, Tenant


def ask_to_stop(pool: ProcessPool, key: int) -> Job | None:
    """Ask one job to stop. One that has not started is taken out of the pool and returned.

    Of one that has ended meanwhile the owner is told before this returns, as ever.
    """
    holder = next((tenant for tenant in pool.tenants() if key in tenant.jobs), None)
    if holder is not None:
        pool.put_back(holder.take_back())
    job = next((job for job in pool.waiting if job.key == key), None)
    if job is not None:
        pool.waiting.remove(job)
        pool.note_if_empty()
    elif holder is not None:
        pool.endings.read_all(holder)
        _tell(holder, key)
    pool.fill()
    return job


def ask_all_to_stop(pool: ProcessPool) -> None:
    """Ask every job that runs to stop: the daemon is going."""
    for tenant in pool.tenants():
        if tenant.channel.board_fd >= 0:  # else it boots, and will be given no job
            board.wish_stop_of_all(tenant.channel.board_fd)


def _tell(tenant: Tenant, key: int) -> None:
    job = tenant.jobs.get(key)
    if job is None or tenant.channel.board_fd < 0:
        return
    board.wish_stop(tenant.channel.board_fd, key)
    if job.concurrency:
        tenant.signal(board.ORDER_SIGNAL)  # its loop looks whom the wish means, and cancels that coroutine
    elif job.soft_timeout_s is not None and tenant.soft_key != key:
        # It has said that it knows what to do when its time is up; so it is told by the same exception, once.
        tenant.soft_key = key
        board.write_order(tenant.channel.board_fd, key)
        tenant.signal(board.ORDER_SIGNAL)
