"""Where a daemon is in its life.

    booting ──▶ running ──▶ draining ──▶ stopped
                 ▲    │
                 └─ quiet

Entered by the supervisor alone; read by `vitals`, which tells it to whoever asks.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The states; their values are what people and programs are shown."""

    BOOTING = "booting"
    RUNNING = "running"
    QUIET = "quiet"  # up, and fetching nothing
    DRAINING = "draining"
    STOPPED = "stopped"
