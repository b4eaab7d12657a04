"""Writing how far running jobs are. Used by `workd.progress`, over a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.broker import keys, scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.ops import Argument
    from workd.broker.session import Session


async def show(session: Session, queue: str, reports: Sequence[tuple[str, bytes]], kept_s: float) -> int | None:
    """Write the reports of jobs by id, each kept for `kept_s`; return how many failed, None when fenced."""
    arguments: list[Argument] = []
    for job_id, text in reports:
        arguments += (job_id, text)
    head = (session.daemon_id, keys.progress(queue, ""), int(kept_s * 1000))
    names = (keys.leases(queue),)
    failed: int = await session.run(scripts.PROGRESS, "showing progress", queue, names, *head, *arguments)
    return None if failed < 0 else failed
