"""What of a daemon's settings can change while it runs. Pure.

Asked by a reload, which reads all sources again. What cannot change goes on as it is, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workd.settings import names

if TYPE_CHECKING:
    from workd.settings import Settings

CHANGEABLE: Final = frozenset(
    {
        "async_concurrency",
        "boot_timeout_s",
        "cancel_grace_s",
        "drain_s",
        "log_level",
        "max_crashes",
        "max_takeovers",
        "memory_limit_bytes",
        "modules",
        "schedule",
        "signing_keys",
        "timeout_s",
        "unknown_task_s",
        "worker_max_age_s",
        "worker_max_growth_bytes",
        "worker_max_jobs",
        "workers",
        "workers_max",
        "workers_min",
    }
)


@dataclass(frozen=True, slots=True)
class Changes:
    """The settings to go on with, the names of those that are new, and of those that have to wait for a restart."""

    settings: Settings
    changed: tuple[str, ...]
    ignored: tuple[str, ...]


def between(now: Settings, read: Settings) -> Changes:
    """Return what changes from the settings that hold `now` to those that were just `read`."""
    different = [name for name in names() if getattr(now, name) != getattr(read, name)]
    changed = tuple(name for name in different if _may_change(name, now, read))
    ignored = tuple(name for name in different if name not in changed)
    return Changes(now.model_copy(update={name: getattr(read, name) for name in changed}), changed, ignored)


def _may_change(name: str, now: Settings, read: Settings) -> bool:
    if name == "signing_keys":
        return bool(now.signing_keys) == bool(read.signing_keys)  # from none to some: inboxes are served no more
    return name in CHANGEABLE
