"""What a pool is told when it is made, and whom it tells what happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from workd.pool.deaths import Lost
    from workd.pool.frames import Frame
    from workd.pool.launcher import LoadSpec
    from workd.pool.slot import Job


class PoolOwner(Protocol):
    """Who gives the pool its jobs. All methods are called in the loop and must not block."""

    def on_result(self, job: Job, frame: Frame) -> None:
        """Take the outcome of a run that ended by itself. Raise `FrameError` to have its worker killed."""

    def on_lost(self, job: Job, how: Lost) -> None:
        """Take back a job that had started and whose worker is dead."""

    def on_returned(self, jobs: list[Job]) -> None:
        """Take back jobs that were never started, since no slot came free in time."""

    def on_room(self) -> None:
        """Hear that the pool may take more jobs than before."""

    def on_change(self) -> None:
        """Hear that the number of ready slots, or the reason for a missing one, has changed."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What does not change in a pool's life."""

    size: int
    spec: LoadSpec
    nice: int = 0
    boot_timeout_s: float = 60.0
    max_result_bytes: int = 256 * 1024 * 1024
    return_waiting: bool = False  # hand what waited too long to `on_returned`
