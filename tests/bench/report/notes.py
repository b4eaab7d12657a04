"""What people have to say about figures: why a goal is missed, and why a curve bends. Read from notes.toml.

`[curves]` has a text for each curve, `[[missed]]` the reason for one missed goal: `curve` (or "peers"), `what` (the
figure, or the measure), `at` where there are several points, and `why`.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from bench.report.goals import UNEXPLAINED

if TYPE_CHECKING:
    from pathlib import Path


class Notes:
    """The texts, by what they are about."""

    def __init__(self, path: Path) -> None:
        """Read the file; without one nothing is explained."""
        found = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._curves: dict[str, str] = found.get("curves", {})
        self._missed = {(one["curve"], one["what"], one.get("at")): one["why"] for one in found.get("missed", [])}

    def curve(self, name: str) -> list[str]:
        """Return the paragraph about a curve."""
        text = self._curves.get(name, "").strip()
        return [text, ""] if text else []

    def why(self, curve: str, what: str, at: float | None = None) -> str:
        """Return the reason for a missed goal: for this point, or for all points of the curve."""
        why = self._missed.get((curve, what, at)) or self._missed.get((curve, what, None)) or UNEXPLAINED
        return " ".join(why.split())  # one line: it goes into a table
