"""Takes samples of a daemon's processes through `hook/sitecustomize.py`, and reads them back."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HOOK = Path(__file__).with_name("hook")


class Frame(NamedTuple):
    """A line of code that was being executed, or waited for the one that it had called."""

    path: str
    function: str
    line: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One tick of a process' CPU clock: where it was, innermost frame first."""

    in_user_mode: bool  # of the clock that ticks in user mode alone; the other one ticks there, too
    frames: tuple[Frame, ...]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment under which Python processes leave their samples in `folder`."""
    path = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path, "BENCH_SAMPLES": str(folder)}


def read(folder: Path, pid: int, since: float, until: float) -> Iterator[Sample]:
    """Yield a process' samples between two moments of the monotonic clock."""
    known: dict[str, Frame] = {}
    for line in (folder / str(pid)).read_text().splitlines():
        at, clock, *frames = line.split("\t")
        if since <= float(at) <= until:
            yield Sample(
                clock == "V", tuple(known.get(text) or known.setdefault(text, _frame(text)) for text in frames)
            )


def _frame(text: str) -> Frame:
    path, function, line = text.rsplit(":", 2)
    return Frame(path, function, int(line))


@dataclass(slots=True)
class Share:
    """What part of a process' samples fell to something."""

    ticks: int = 0
    user_ticks: int = 0

    def count(self, sample: Sample) -> None:
        """Add one sample."""
        self.ticks += not sample.in_user_mode
        self.user_ticks += sample.in_user_mode


class Shares:
    """The samples of one process, or of several alike, sorted into groups; one may fall to several."""

    def __init__(self, found: Iterable[Sample], names_of: Callable[[Sample], Iterable[str]]) -> None:
        """Sort them by the names that `names_of` gives to each."""
        self.groups: defaultdict[str, Share] = defaultdict(Share)
        self.total = Share()
        for sample in found:
            self.total.count(sample)
            for name in names_of(sample):
                self.groups[name].count(sample)
