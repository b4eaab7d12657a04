"""An initializer with which only the first workers of a pool come up; workers import it."""

from __future__ import annotations

import os
from pathlib import Path


def start(pids: str, limit: int) -> None:
    """Note this worker's pid in a file, and fail if `limit` others were there before."""
    with Path(pids).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(Path(pids).read_text().splitlines()) > limit:
        msg = "Manually induced OSError"
        raise OSError(msg)
