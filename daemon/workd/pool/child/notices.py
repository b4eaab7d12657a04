"""What a running job hears of the supervisor's wishes, and says of its progress. Both by the worker's board.

Neither a frame nor a signal: a task may ask as often as it likes, and report as often as it likes, and nobody is woken
by it. The supervisor looks at the reports of running jobs about once a second; of what was reported meanwhile it
sees the last.

State of one worker process. Where no worker is being run (a unit test of a runner), nobody asks and nobody hears.
"""

from __future__ import annotations

import json
import math
import time

from workd.pool import board

key = 0  # of the job under way: written by the worker for each job
_MAX_NOTE_BYTES = 300
_SHORT_CHARS = 40  # so few fit, whatever they are
_board_fd = -1
_reports = 0  # how many were written


def install(board_fd: int) -> None:
    """Use this board. Called once in a worker."""
    global _board_fd  # noqa: PLW0603 - one worker, one board
    _board_fd = board_fd


def should_stop() -> bool:
    """Say whether the job under way is to stop."""
    return is_asked_to_stop(key)


def is_asked_to_stop(job_key: int) -> bool:
    """Say whether the job with this key is to stop."""
    return _board_fd >= 0 and board.is_asked_to_stop(_board_fd, job_key)


def report(done: float, total: float | None = None, note: str = "") -> None:
    """Say how far the job under way is. Raises `ValueError` for what is no number, `TypeError` for what is not text."""
    report_of(key, done, total, note)


def report_of(job_key: int, done: float, total: float | None, note: str) -> None:
    """Say how far the job with this key is."""
    global _reports  # noqa: PLW0603 - the state of one process
    if not isinstance(note, str):
        raise TypeError(f"progress: note is to be text, not {type(note).__name__}")
    said = {
        "done": _number("done", done),
        "total": None if total is None else _number("total", total),
        "note": _clip(note),
        "at": round(time.time(), 3),
    }
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    if _board_fd >= 0:
        _reports += 1
        board.write_report(_board_fd, job_key, _reports, text[: board.MAX_REPORT_BYTES])


def _number(name: str, value: float) -> float:
    """Return a number that every JSON reader takes: numpy's are made Python's, counts stay whole."""
    if isinstance(value, int) and abs(value) < 2**53:
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"progress: {name} is to be a finite number, not {value!r}"[:200])
    return number


def _clip(note: str) -> str:
    """Keep what fits onto the board, as it is written there."""
    if len(note) <= _SHORT_CHARS:
        return note
    note = note[:_MAX_NOTE_BYTES]
    while len(json.dumps(note, ensure_ascii=False).encode(errors="replace")) > _MAX_NOTE_BYTES:
        note = note[: len(note) * 9 // 10]
    return note
