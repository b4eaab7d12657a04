"""What Redis has recorded at the end, and whether it is what was promised.

Reads the outcomes where they are kept, not from the handles of the producer: what counts is what was written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workd.broker import keys
from workd.errors import WorkdError
from workd.wire import Outcome, Status, decode_outcome

if TYPE_CHECKING:
    import redis

QUEUE = "default"


class DemoError(WorkdError):
    """Something differs from what was promised; the message says what."""


def expect(seen: object, promised: object, what: str) -> None:
    """Go on if both are the same; raise `DemoError` if not."""
    if seen != promised:
        raise DemoError(f"the demo failed: {what}: {promised} expected, {seen} seen")


@dataclass(frozen=True, slots=True)
class Tally:
    """All outcomes of the queue, and what is left in it."""

    outcomes: tuple[Outcome, ...]
    dead_letters: int
    left: int

    @classmethod
    def read(cls, store: redis.Redis) -> Tally:
        """Read it from the server."""
        commands: Any = store  # one client class answers for both the synchronous and the asynchronous one's types
        names = list(commands.scan_iter(keys.result(QUEUE, "*"), count=1000))
        raws = commands.mget(names) if names else []
        dead, left = commands.xlen(keys.dead(QUEUE)), commands.xlen(keys.stream(QUEUE))
        return cls(tuple(decode_outcome(raw) for raw in raws if raw is not None), dead, left)

    @property
    def jobs(self) -> int:
        """Jobs that have ended."""
        return len(self.outcomes)

    @property
    def succeeded(self) -> int:
        """Jobs whose task returned."""
        return sum(outcome.status is Status.SUCCEEDED for outcome in self.outcomes)

    @property
    def deliveries(self) -> int:
        """Runs that were started."""
        return sum(outcome.deliveries for outcome in self.outcomes)

    @property
    def redelivered(self) -> tuple[Outcome, ...]:
        """Jobs that were run more than once."""
        return tuple(outcome for outcome in self.outcomes if outcome.deliveries > 1)

    def figures(self) -> dict[str, float]:
        """Return what is shown of it, by name."""
        return {
            "jobs": self.jobs,
            "succeeded": self.succeeded,
            "deliveries": self.deliveries,
            "redeliveries": self.deliveries - self.jobs,
            "dead_letters": self.dead_letters,
            "queued": self.left,
        }

    def check(self, jobs: int, killed_job_id: str) -> None:
        """Raise `DemoError` unless every job succeeded and the killed one, and no other, was run twice."""
        expect(self.jobs, jobs, "jobs that ended")
        expect(self.succeeded, jobs, "jobs that succeeded")
        twice = {outcome.id: outcome.deliveries for outcome in self.redelivered}
        expect(twice, {killed_job_id: 2}, "jobs that were run more than once, and how often")
        expect(self.deliveries, jobs + 1, "deliveries")
        expect(self.dead_letters, 0, "dead letters")
        expect(self.left, 0, "jobs left in the queue")
