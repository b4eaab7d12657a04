"""Whose turn it is among several queues: strict order or weights, and neither lets a queue starve. Pure.

Used by the fetcher alone. A turn is a few reads, one after the other until there is enough. What a read brought says
which queues may hold more; those that were found empty are asked together, by one command for all of them, so that a
turn costs no more with fifty queues than with two.

- **Strict** (no weights): an earlier queue goes before all later ones. A later one that has not been asked for
  `PATIENCE_S` gets one job in between, so that work without end above it delays it, but not for ever.
- **Weighted**: each turn is the queue's that has had the least for its weight. What was empty, or paused, has saved
  nothing up.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

PATIENCE_S: Final = 10.0
PROBE_S: Final = 0.02
"""How often queues that were empty are asked while others have jobs, under weights."""


class Read(NamedTuple):
    """One read: of these queues, at most so many jobs of each."""

    queues: Sequence[str]
    most: int


class Turns:
    """What is known of the queues of one daemon. `serve` before each turn, and `note` what each read has brought."""

    def __init__(self, weights: Mapping[str, int] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`weights` as jobs in relation to those of the others, 1 where a queue is not named; none: strict order."""
        self._weights = weights or {}
        self._clock = clock
        self._empty: set[str] = set()  # what nobody has asked yet may hold something
        self._asked_at: dict[str, float] = {}
        self._probed_at = -PROBE_S
        self._had: dict[str, float] = {}  # jobs, divided by the weight
        self._least = 0.0  # what each had had at least that was in the last turn; who comes anew begins there

    def serve(self, queues: Collection[str]) -> None:
        """Hear, before each turn, which queues may be read: the others are paused, and save nothing up."""
        if not self._weights:
            return
        self._empty.update(self._had.keys() - set(queues))
        if self._had and self.all_empty(queues):  # nobody is waiting, so nobody is owed anything
            self._had.clear()
            self._least = 0.0

    def all_empty(self, queues: Collection[str]) -> bool:
        """Say whether all of these were empty when they were last asked."""
        return self._empty.issuperset(queues)

    def reads(self, queues: Sequence[str], left: Callable[[], int]) -> Iterator[Read]:
        """Yield the reads of one turn while `left` says that more jobs are wanted; `note` each before the next."""
        turn = self._by_weight(queues, left) if self._weights else self._in_order(queues, left)
        for read in turn:
            yield read
            if left() < 1:
                return

    def note(self, read: Read, brought: Mapping[str, int]) -> None:
        """Hear how many jobs of each queue a read has brought."""
        now = self._clock()
        for queue in read.queues:
            count = brought.get(queue, 0)
            self._asked_at[queue] = now
            if self._weights and count:
                self._charge(queue, count)
            if count < read.most:
                self._empty.add(queue)
            else:
                self._empty.discard(queue)

    def _charge(self, queue: str, count: int) -> None:
        before = self._had.get(queue, self._least)
        if queue in self._empty:
            before = max(before, self._least)
        self._had[queue] = before + count / self._weights.get(queue, 1)

    def _in_order(self, queues: Sequence[str], left: Callable[[], int]) -> Iterator[Read]:
        now = self._clock()
        overdue = [queue for queue in queues[1:] if now - self._asked_at.setdefault(queue, now) > PATIENCE_S]
        if overdue and left() > 0:
            yield Read(overdue, 1)
        empty: list[str] = []
        for queue in queues:
            if queue in overdue:
                continue
            if queue in self._empty:
                empty.append(queue)
                continue
            if empty:
                yield _shared(empty, left())
                empty = []
                if left() < 1:
                    return
            yield Read((queue,), left())
        if empty:
            yield _shared(empty, left())

    def _by_weight(self, queues: Sequence[str], left: Callable[[], int]) -> Iterator[Read]:
        full = self._full(queues)
        known = [self._had[queue] for queue in full if queue in self._had]
        self._least = max(self._least, min(known, default=0.0))
        self._had |= {queue: self._least for queue in full if queue not in self._had}
        empty = [queue for queue in queues if queue in self._empty]
        if empty and (len(empty) == len(queues) or self._clock() - self._probed_at >= PROBE_S):
            self._probed_at = self._clock()
            yield Read(empty, 1)
        full = self._full(queues)
        while full:
            queue = min(full, key=self._had.__getitem__)
            full.remove(queue)
            yield Read((queue,), left())

    def _full(self, queues: Sequence[str]) -> list[str]:
        return [queue for queue in queues if queue not in self._empty]


def _shared(queues: Sequence[str], count: int) -> Read:
    return Read(queues, max(1, count // len(queues)))
