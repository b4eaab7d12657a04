"""Back-pressure: whoever makes calls waits while too many of them have no outcome yet.

A deque holds one token for each call that may still be made; taking one out of it is atomic, so there is no lock that a
signal handler could find taken.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from workd.pool.api import waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.api.waiting import Waiters


class Admission:
    """Lets `most` calls in at a time."""

    def __init__(self, most: int) -> None:
        """Nobody is in yet."""
        self._tokens: deque[None] = deque([None] * most)
        self._debts: deque[None] = deque()  # of those who came in without a token
        self._waiters: Waiters = []

    def enter(self, is_over: Callable[[], bool]) -> bool:
        """Wait for a token and take it. False, with no token taken, once `is_over()`; `let_go` makes us look."""
        while True:
            if is_over():
                return False
            try:
                self._tokens.pop()
            except IndexError:
                waiting.wait(self._waiters, lambda: self._tokens or is_over())
            else:
                return True

    def enter_at_once(self) -> None:
        """Come in, token or not: for the callback thread, which would wait for itself."""
        try:
            self._tokens.pop()
        except IndexError:
            self._debts.append(None)

    def leave(self) -> None:
        """Give the token back."""
        try:
            self._debts.pop()
        except IndexError:
            self._tokens.append(None)
            self.let_go()

    def let_go(self) -> None:
        """Have all who wait look again."""
        if self._waiters:
            waiting.wake(self._waiters)
