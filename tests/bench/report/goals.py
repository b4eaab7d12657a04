"""One line of the table of goals; made by the sections, shown together at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass

UNEXPLAINED = "not explained yet"
UNMEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was to be reached, what was, and why not."""

    what: str
    goal: str
    measured: str
    met: bool
    why: str = ""

    @classmethod
    def unmeasured(cls, what: str, goal: str) -> Verdict:
        """Make the line of a goal that nothing was measured for: it is not met."""
        return cls(what, goal, "-", met=False, why=UNMEASURED)

    @property
    def unexplained(self) -> bool:
        """Whether a reason is owed."""
        return not self.met and self.why == UNEXPLAINED

    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells of its line."""
        return self.what, self.goal, self.measured, "met" if self.met else f"**missed**: {self.why}"
