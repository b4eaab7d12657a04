"""How much is measured: the options of the command line that the curves read."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Options:
    """Rounds, and whether each is a small one."""

    rounds: int = 5
    quick: bool = False

    def scaled(self, amount: float) -> float:
        """Return an amount of work, or the part of it that a quick run does."""
        return amount * QUICK_SHARE if self.quick else amount

    def jobs(self, amount: int) -> int:
        """Return a number of jobs, or the part of it that a quick run does."""
        return max(1, round(self.scaled(amount)))
