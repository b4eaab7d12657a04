"""How much is measured: the options of the command line that the curves read."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_PART = 0.25


@dataclass(frozen=True, slots=True)
class Options:
    """Rounds, and how much is done in each."""

    rounds: int = 5
    part: float = 1.0
    """Of the work of a full round."""

    @property
    def quick(self) -> bool:
        """Whether this is less than the full work."""
        return self.part < 1

    def scaled(self, amount: float) -> float:
        """Return the part of an amount of work that is done."""
        return amount * self.part

    def jobs(self, amount: int) -> int:
        """Return the part of a number of jobs that is done, but one at the least."""
        return max(1, round(self.scaled(amount)))
