"""What people see: headings, lines, tables and progress bars; plain lines where stdout is no terminal.

The one part of the demo that knows rich. On a terminal bars move; elsewhere each bar is one line when it is full.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.progress import TaskID


class Bars(Protocol):
    """Some progress bars, by name."""

    def at(self, name: str, done: int) -> None:
        """Say how much of one is done."""


class Screen:
    """Standard output; `step` is the heading that was shown last."""

    def __init__(self, *, on_stderr: bool = False) -> None:
        """Write to this process' standard output, or to standard error."""
        self._console = Console(highlight=False, markup=False, emoji=False, stderr=on_stderr)
        self.step = "start"

    def heading(self, text: str) -> None:
        """Begin a step."""
        self.step = text
        self._console.print()
        self._console.print(Text(text, "bold"), soft_wrap=True)  # print's own style would be that of the bars too

    def say(self, text: str, style: str = "") -> None:
        """Write one line, above bars that move."""
        self._console.print(Text(f"  {text}".rstrip(), style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table; its last column is of numbers."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for number, name in enumerate(columns, 1):
            table.add_column(name, justify="right" if number == len(columns) else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, 1), expand=False))

    @contextmanager
    def bars(self, totals: Mapping[str, int]) -> Iterator[Bars]:
        """Show a progress bar for each name while the block lasts."""
        if not self._console.is_terminal:
            yield _PlainBars(self, totals)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), _Seconds())
        with Progress(*columns, console=self._console) as progress:
            yield _MovingBars(progress, totals)


class _MovingBars:
    def __init__(self, progress: Progress, totals: Mapping[str, int]) -> None:
        self._progress = progress
        self._ids: dict[str, TaskID] = {name: progress.add_task(name, total=total) for name, total in totals.items()}

    def at(self, name: str, done: int) -> None:
        self._progress.update(self._ids[name], completed=done)


class _PlainBars:
    def __init__(self, screen: Screen, totals: Mapping[str, int]) -> None:
        self._screen = screen
        self._missing = dict(totals)
        self._totals = dict(totals)
        self._began_s = time.monotonic()

    def at(self, name: str, done: int) -> None:
        total = self._totals[name]
        if done >= total and self._missing.pop(name, None) is not None:
            self._screen.say(f"{name}: {total} of {total}, {time.monotonic() - self._began_s:.1f} s")


class _Seconds(ProgressColumn):
    """How long a bar has been moving."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.finished_time if task.finished else task.elapsed
        return Text(f"{elapsed_s or 0.0:.1f} s", style="progress.elapsed")
