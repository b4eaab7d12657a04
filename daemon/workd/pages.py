"""The pages that are more than a yes or no, and what they are made of: `/metrics` and `/status`.

Imported when the HTTP server starts, and prometheus-client with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from workd import metrics, overview

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.dispatcher import Dispatcher
    from workd.pool.core import ProcessPool
    from workd.pulse import Pulse, Pulses
    from workd.settings import Settings
    from workd.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of one daemon that are read, all in one event loop."""

    daemon_id: str
    started_at: float  # epoch seconds
    settings: Callable[[], Settings]  # a reload changes them
    pool: ProcessPool
    dispatcher: Dispatcher
    pulse: Pulse | Pulses
    vitals: Vitals

    @property
    def version(self) -> str:
        """Of workd."""
        return version("workd")


class DaemonPages:
    """Writes the pages of one daemon."""

    metrics_type = metrics.CONTENT_TYPE

    def __init__(self, sources: Sources) -> None:
        """Write of these."""
        self._sources = sources

    async def metrics(self) -> bytes:
        """Write `/metrics`."""
        return await metrics.page(self._sources)

    async def status(self) -> dict[str, Any]:
        """Say what is in `/status`."""
        return await overview.page(self._sources)
