"""What jobs report while they are measured: one small mapped file per worker, so that reporting costs next to nothing.

Written by `tasks` in the workers (one `Ledger` each), read and set back by the bench (`Ledgers`). No locks: each file
has one writer, and the bench sets files back only while nothing runs.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS = struct.Struct("=QQQQ")  # jobs that ended, start of the first, end of the last (ns), CPU of all (ns)
_SUFFIX = ".ledger"


class Ledger:
    """The file of one worker."""

    def __init__(self, folder: Path) -> None:
        """Make the file of this process in `folder`."""
        path = folder / f"{os.getpid()}{_SUFFIX}"
        path.write_bytes(bytes(_FIELDS.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FIELDS.size)

    def note(self, started_ns: int, cpu_ns: int = 0) -> None:
        """Count a job that ends now; times are CLOCK_MONOTONIC in ns."""
        count, first_ns, _, spent_ns = _FIELDS.unpack_from(self._map)
        _FIELDS.pack_into(self._map, 0, count + 1, first_ns or started_ns, time.monotonic_ns(), spent_ns + cpu_ns)


@dataclass(frozen=True, slots=True)
class Tally:
    """All workers' reports added up; times are CLOCK_MONOTONIC in seconds."""

    jobs: int
    first_start_s: float
    last_end_s: float
    cpu_s: float
    """What the jobs say that they have spent."""

    @property
    def took_s(self) -> float:
        """From the start of the first job to the end of the last."""
        return self.last_end_s - self.first_start_s


class Ledgers:
    """All files in a folder. Reading them takes microseconds, so that it can be done while others are measured."""

    def __init__(self, folder: Path) -> None:
        """Use an existing folder."""
        self.folder = folder
        self._maps: dict[Path, mmap.mmap] = {}

    def look(self) -> None:
        """Find the files of workers that have come since."""
        for path in self.folder.glob(f"*{_SUFFIX}"):
            if path not in self._maps and path.stat().st_size == _FIELDS.size:
                with path.open("r+b") as file:
                    self._maps[path] = mmap.mmap(file.fileno(), _FIELDS.size)

    def jobs(self) -> int:
        """Return how many jobs have ended."""
        return sum(_FIELDS.unpack_from(map_)[0] for map_ in self._maps.values())

    def read(self) -> Tally:
        """Add up. Without any job, all is 0."""
        self.look()
        rows = [_FIELDS.unpack_from(map_) for map_ in self._maps.values()]
        firsts = [first_ns for _, first_ns, _, _ in rows if first_ns]
        return Tally(
            jobs=sum(row[0] for row in rows),
            first_start_s=min(firsts, default=0) / 1e9,
            last_end_s=max((row[2] for row in rows), default=0) / 1e9,
            cpu_s=sum(row[3] for row in rows) / 1e9,
        )

    def reset(self) -> None:
        """Set all files back to nothing, while nothing runs."""
        self.look()
        for map_ in self._maps.values():
            map_[:] = bytes(_FIELDS.size)
