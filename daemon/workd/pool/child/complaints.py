"""What a process says that can't go on: which module, what, where, and the whole traceback.

Made in a forkserver whose load failed and in a worker that could not start; the supervisor turns it into a `BootError`.
"""

from __future__ import annotations

import os
import sys
from typing import Final

_TRACEBACK_CHARS: Final = 8_000  # it has to fit into a packet
_CAUSE_CHARS: Final = 2_000
_OWN_PACKAGES: Final = ("workd", "workd_tasks")


def complain(error: BaseException, module: str = "") -> dict[str, str]:
    """Return module, cause in one line (the exception, and the user's line that raised it) and traceback."""
    import traceback

    calls = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in calls if not _is_ours(frame.filename)]
    place = f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    words = ": ".join(filter(None, (type(error).__name__, _text(error)[:_CAUSE_CHARS])))
    return {
        "module": getattr(error, "module", "") or module,
        "cause": _encodable(f"{words} ({place})" if place else words),
        "traceback": _encodable("".join(traceback.format_exception(error))[-_TRACEBACK_CHARS:]),
    }


def _encodable(text: str) -> str:
    """Write out halves of surrogate pairs, which a file name or somebody's data may bring: they could not be sent."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a __str__ of the user's own
        return f"<its text cannot be had: {type(broken).__name__} in __str__>"


def _is_ours(filename: str) -> bool:
    """Tell frames of workd and of the import machinery from those in which the user can change something."""
    folders = [os.path.dirname(str(sys.modules[name].__file__)) for name in _OWN_PACKAGES if name in sys.modules]  # noqa: PTH120
    ours = any(filename.startswith(f"{folder}/") for folder in folders) and "/workd_tasks/samples/" not in filename
    return ours or filename.startswith("<frozen ") or "importlib" in filename
