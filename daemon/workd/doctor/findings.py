"""What a check has found: how bad it is, what it is, and what to do. Data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is, from the least to the most."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; also what could not be looked at, and why."""
    WARNING = "warning"
    """It works, and may not go on working, or loses something one day."""
    PROBLEM = "problem"
    """Jobs do not run, or are not safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing. `check` is its name for programs, `area.name`, which does not change; `todo` may be empty."""

    check: str
    level: Level
    said: str
    todo: str = ""

    @property
    def area(self) -> str:
        """What was looked at."""
        return self.check.partition(".")[0]


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, said)


def note(check: str, said: str, todo: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, Level.NOTE, said, todo)


def warning(check: str, said: str, todo: str) -> Finding:
    """It works, for now."""
    return Finding(check, Level.WARNING, said, todo)


def problem(check: str, said: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.PROBLEM, said, todo)
