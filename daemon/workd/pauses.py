"""Which queues nothing is to be started of: those that somebody paused, or all, while the daemon is quiet.

The books of the gate, which does what follows from them. Asked for every job while anything is held up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.queues import Paused

log = get_logger("workd.pauses")


class Pauses:
    """What is held up, and why."""

    def __init__(self) -> None:
        """Hold up nothing."""
        self.of: dict[str, Paused] = {}  # by queue
        self.shut = False  # the whole daemon is quiet

    @property
    def none(self) -> bool:
        """Whether nothing is held up."""
        return not (self.of or self.shut)

    def holds_up(self, queue: str) -> bool:
        """Say whether nothing of a queue may start here."""
        return self.shut or queue in self.of

    def open_among(self, queues: Sequence[str]) -> list[str]:
        """Return those of these queues of which jobs may start here."""
        return [queue for queue in queues if not self.holds_up(queue)]

    def note(self, queue: str, pause: Paused | None) -> None:
        """Hear that a queue is paused, or is not; say so in the log if that is news."""
        before = self.of.get(queue)
        if pause is None:
            self.of.pop(queue, None)
            if before is not None:
                log.info("the queue is resumed", queue=queue)
            return
        self.of[queue] = pause
        if before is None:
            log.warning("the queue is paused", queue=queue, reason=pause.reason, by=pause.by, until=pause.until)
