"""What a pool is told when it is made, and whom it tells what happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from workd.errors import PoolError
    from workd.pool.deaths import Lost
    from workd.pool.parsing import Frame
    from workd.pool.requests import LoadSpec
    from workd.pool.slot import Job


class PoolOwner(Protocol):
    """Who gives the pool its jobs. All methods are called in the loop and must not block."""

    def on_result(self, job: Job, frame: Frame) -> None:
        """Take the outcome of a run that ended by itself. Raise `FrameError` to have its worker killed."""

    def on_lost(self, job: Job, how: Lost) -> None:
        """Take back a job that had started and whose worker is dead."""

    def on_returned(self, jobs: list[Job]) -> None:
        """Take back jobs that were never started, since no slot came free in time."""

    def on_unstartable(self, jobs: list[Job], cause: PoolError) -> None:
        """Take back jobs that nobody will start: there are no workers, or their body can't be handed over."""

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
    reads_seldom: bool = False  # results of workers with enough short jobs to do: see `listening`
    return_waiting: bool = False  # hand what waited too long to `on_returned`
    fail_waiting: bool = False  # hand all to `on_unstartable` while there is no worker and none can be started
    max_tasks: int | None = None  # a worker is replaced after so many jobs
    max_age_s: float | None = None  # … and after so long
    max_growth_bytes: int | None = None  # … and when its resident memory has grown by so much since it was ready
    memory_limit_bytes: int | None = None  # of every job; one that has its own has the lower of the two
