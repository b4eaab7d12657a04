"""A page of documentation that is followed word by word: its blocks for the shell, and what it says appears.

A fenced block marked `sh run` is run; a `text` block behind it, with nothing but prose between, has lines that appear
in that order in what was printed, each within one line; `…` stands for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FENCE: Final = re.compile(r"^```(?P<mark>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One block to run, where it stands, and the lines that have to appear."""

    heading: str
    line: int
    script: str
    expected: tuple[str, ...]

    @property
    def name(self) -> str:
        """A name for a test's report."""
        return f"{self.heading}, line {self.line}"

    def missing(self, printed: str) -> str | None:
        """Return the first expected line that did not appear after the ones before it, None if all did."""
        lines = iter(printed.splitlines())
        for wanted in self.expected:
            pattern = re.compile(".*".join(re.escape(part.strip()) for part in wanted.split("…")))
            if not any(pattern.search(line) for line in lines):
                return wanted
        return None


def steps(page: str) -> list[Step]:
    """Return the blocks of a page that are to be run, in order."""
    found: list[Step] = []
    for fence in _FENCE.finditer(page):
        mark, body = fence["mark"].strip(), fence["body"]
        if mark == "sh run":
            headings = _HEADING.findall(_without_fences(page[: fence.start()]))
            found.append(Step(headings[-1] if headings else "", page.count("\n", 0, fence.start()) + 1, body, ()))
        elif mark == "text" and found and not found[-1].expected:
            expected = tuple(line for line in body.splitlines() if line.strip())
            found[-1] = Step(found[-1].heading, found[-1].line, found[-1].script, expected)
    return found


def _without_fences(text: str) -> str:
    return _FENCE.sub("", text)
