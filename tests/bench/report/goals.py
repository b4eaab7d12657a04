"""One line of the table of goals; made by the sections, shown together at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was to be reached, what was, and why not."""

    what: str
    goal: str
    measured: str
    met: bool
    why: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells of its line."""
        return self.what, self.goal, self.measured, "met" if self.met else f"**missed**: {self.why}"
