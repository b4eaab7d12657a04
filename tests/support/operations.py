"""docs/operations.md as a script: its blocks that are to be run, in order, and what has to appear."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_FENCED = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block `sh run`: `script` is for `bash -eu`, `expected` what has to appear in its output."""

    line: int
    """Where in the page it begins."""
    script: str
    expected: tuple[str, ...]

    def missing(self, output: str) -> str | None:
        """Return the first expected line that does not appear, in this order; None if all do. `…` is any text."""
        at = 0
        for line in self.expected:
            wanted = re.compile(r"[^\n]*?".join(re.escape(part.strip()) for part in line.split("…")))
            found = wanted.search(output, at)
            if found is None:
                return line
            at = found.end()
        return None


def blocks(page: str | None = None) -> list[Block]:
    """Return what is to be run, in the order of the page."""
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    fenced = list(_FENCED.finditer(text))
    found = []
    for index, block in enumerate(fenced):
        if block["info"].split() != ["sh", "run"]:
            continue
        after = fenced[index + 1] if index + 1 < len(fenced) else None
        is_answer = after is not None and after["info"] == "text" and not text[block.end() : after.start()].strip()
        expected = after["body"].splitlines() if after is not None and is_answer else []
        found.append(Block(text.count("\n", 0, block.start()) + 1, block["body"], tuple(filter(None, expected))))
    return found
