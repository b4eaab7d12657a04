"""Where the jobs of one task stand in line for its limits, as far as this daemon knows: the books of the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from workd.broker.permits import Limit
from workd_tasks.options import per_second

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workd.broker.permits import PermitReply
    from workd.flights import Flight

NO_LIMIT: Final = Limit()
"""Of a task that had a limit once: what still waits for it may run."""

TOGETHER_S: Final = 0.05
"""Tokens that come so close to each other are taken together, where the burst allows it."""
_MOST_MISSES: Final = 4


@dataclass(slots=True)
class Line:
    """The jobs of one task in one queue, as far as they are here, and what is known of those that wait."""

    queue: str
    task: str
    limit: Limit
    asking: list[Flight] = field(default_factory=list)
    unstarted: list[Flight] = field(default_factory=list)  # they had a permit and found no worker
    unused: int = 0  # tokens of jobs that ended before they could start
    ended: list[str] = field(default_factory=list)  # entries that gave up their permit
    give_back_at: float = math.inf  # loop time at which these are told by themselves, if nothing is asked before
    others_wait: bool = False  # as far as we know
    verify: bool = False  # somebody saw jobs waiting: are all permits in use?
    more: bool = False  # others that wait could run now, if we had room
    next_at: float = math.inf  # loop time at which one more may start
    misses: int = 0  # how often in a row another daemon was quicker then

    def note(self, reply: PermitReply, now: float, room: int) -> None:
        """Take what Redis says of those that wait, to a daemon that had room for so many.

        Who comes too late for a token comes a little later the next time: a large fleet needs few who look for them.
        """
        was_due = room > 0 and now >= self.next_at
        self.others_wait, self.more, self.next_at = reply.others_wait, reply.more > 0, math.inf
        if self.ended and not self.more:
            self.give_back_at = now
        if reply.taken:
            self.misses = 0
        elif was_due:
            self.misses = min(_MOST_MISSES, self.misses + 1)
        if reply.next_in_s is not None:
            saved_s = (self.limit.most_tokens - 1) * (self.limit.token_us or 0.0) / 1e6
            late_s = TOGETHER_S * (2.0**self.misses - 1)
            self.next_at = now + reply.next_in_s + min(TOGETHER_S, saved_s / 2) + late_s

    def end(self, entry_id: str, now: float) -> None:
        """Have the permit of a job given back: at once where others wait for it, else with the next question.

        Where more could run than do, nobody waits for this one, and a call for itself alone would be a third of what a
        short job costs Redis.
        """
        self.ended.append(entry_id)
        self.give_back_at = min(self.give_back_at, now + TOGETHER_S) if self.more else now

    def take_ended(self) -> tuple[str, ...]:
        """Return the entries whose permits the next call gives back."""
        ended, self.ended, self.give_back_at = tuple(self.ended), [], math.inf
        return ended

    def put_off(self, until: float) -> None:
        """Look for those that wait no sooner than that: what stands in their way is nothing that we can wait out."""
        self.more, self.next_at = False, until

    def is_due(self, now: float, room: int) -> bool:
        """Say whether there is something to ask."""
        return (
            bool(self.asking or self.unstarted or self.unused or self.verify)
            or now >= self.give_back_at
            or (room > 0 and self.is_hungry(now))
        )

    def is_hungry(self, now: float) -> bool:
        """Say whether a job that waits could start here, if there were room."""
        return self.more or now >= self.next_at


def limit_of(options: Mapping[str, Any]) -> Limit | None:
    """Return what a task's options limit over the fleet; None if nothing."""
    rate, most_running = options.get("rate_limit"), options.get("concurrency_limit")
    if rate is None:
        return None if most_running is None else Limit(most_running)
    each_second = per_second(rate)
    return Limit(most_running, 1e6 / each_second, options.get("rate_burst") or max(1, int(each_second)))


def entry_ids(flights: Iterable[Flight]) -> tuple[str, ...]:
    """Return what a call names jobs by."""
    return tuple(flight.entry.entry_id for flight in flights)
