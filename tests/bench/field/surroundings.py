"""What the driver tells the processes that it starts, by their environment: written there, read in every adapter.

Imported in the peers' environments too: the standard library is all that is here.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

URL = "BENCH_URL"
FOLDER = "BENCH_FOLDER"
RESULTS = "BENCH_RESULTS"
MARK = "BENCH_MARK"


class Results(StrEnum):
    """What becomes of what a job returns."""

    OFF = "off"
    """Nothing is kept, where the system can do that."""
    KEPT = "kept"
    """It is written to Redis; nobody asks for it."""
    AWAITED = "awaited"
    """It is written, and a producer waits for it in the quickest way that the system has."""


RESULT_TTL_S = 600


def url() -> str:
    """Return the address of the Redis server of this run."""
    return os.environ[URL]


def folder() -> Path:
    """Return the folder in which jobs report."""
    return Path(os.environ[FOLDER])


def results() -> Results:
    """Return what becomes of results in this run."""
    return Results(os.environ[RESULTS])
