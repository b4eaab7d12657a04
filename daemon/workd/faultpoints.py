"""Named places in the code where a test can have the process die, so that no window is too small to be tested.

Off unless the environment variable WORKD_FAULT_POINT names one at the start of the process: `NAME` kills the process
with SIGKILL when the point is reached, `NAME:3` at the third time, `NAME@PATH` only if PATH can be created (so that
one process of many does it, once, and not before PATH has a folder), `NAME=SIGSTOP` sends it that signal instead (so
`NAME:3=SIGSTOP@PATH` is all of it). Where it is off, `hit` and `tear` are empty functions.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "WORKD_FAULT_POINT"


def _parse(setting: str) -> tuple[str, int, signal.Signals, str]:
    point, _, marker_path = setting.partition("@")
    place, _, signal_name = point.partition("=")
    name, _, count = place.partition(":")
    return name, int(count or 1), signal.Signals[signal_name or "SIGKILL"], marker_path


_name, _left, _signal, _marker_path = _parse(os.environ.get(VARIABLE, ""))


def _is_reached(name: str) -> bool:
    """Count a passage; say whether this is the one."""
    global _left  # noqa: PLW0603 - the count of one process
    if name != _name:
        return False
    _left -= 1
    if not _marker_path:
        return _left == 0
    if _left > 0:
        return False
    try:
        os.close(os.open(_marker_path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    except (FileExistsError, FileNotFoundError):  # another process did it; or the test makes the folder later
        return False
    return True


def _armed_hit(name: str) -> None:
    if _is_reached(name):
        os.kill(os.getpid(), _signal)


def _armed_tear(name: str, fd: int, data: bytes) -> int:
    """Write the first half of `data` and die, since nobody can be killed in the middle of one system call.

    Return how much is written: `written = tear(name, fd, data) or os.write(fd, data)`.
    """
    if not _is_reached(name):
        return 0
    half = memoryview(data)[: len(data) // 2]
    written = 0
    while written < len(half):
        written += os.write(fd, half[written:])
    os.kill(os.getpid(), _signal)
    return written


def _disarmed_hit(name: str) -> None:
    """Do nothing."""


def _disarmed_tear(name: str, fd: int, data: bytes) -> int:  # noqa: ARG001 - as the armed one
    """Write nothing."""
    return 0


hit = _armed_hit if _name else _disarmed_hit
tear = _armed_tear if _name else _disarmed_tear
