"""Named places in the code where a test can have the process die, so that no window is too small to be tested.

Off unless the environment variable WORKD_FAULT_POINT names one at the start of the process: `NAME` kills the process
with SIGKILL when the point is reached, `NAME:3` at the third time, `NAME@PATH` only if PATH can be created (so that
one process of many does it, once). Where it is off, `hit` is an empty function.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "WORKD_FAULT_POINT"


def _parse(setting: str) -> tuple[str, int, str]:
    point, _, marker_path = setting.partition("@")
    name, _, count = point.partition(":")
    return name, int(count or 1), marker_path


_name, _left, _marker_path = _parse(os.environ.get(VARIABLE, ""))


def _armed_hit(name: str) -> None:
    global _left  # noqa: PLW0603 - the count of one process
    if name != _name:
        return
    _left -= 1
    if _left > 0:
        return
    if _marker_path:
        try:
            os.close(os.open(_marker_path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)


def _disarmed_hit(name: str) -> None:
    """Do nothing."""


hit = _armed_hit if _name else _disarmed_hit
