"""Starting the interpreter of a forkserver: what it is told, and what it must not find in its environment.

Used by `launcher.py` alone. Imports nothing heavy, since it runs before anything else does.
"""

from __future__ import annotations

import importlib.util
import multiprocessing.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd.systemd import VARIABLES as SERVICE_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Collection

# What `-m workd.pool.forkserver` does, for the very workd that runs here, however this program's path came to be.
_START: Final = """\
import sys
roots = sys.argv[1].split(":")
sys.path[:0] = roots
import workd
del sys.path[: len(roots)]
sys.path += [root for root in roots if root not in sys.path]
from workd.pool.forkserver import main
main(sys.argv[1:])
"""


DAEMON_VARIABLES: Final = frozenset({*SERVICE_VARIABLES, "CREDENTIALS_DIRECTORY", "WORKD_REDIS_URL"})
"""What workers of the daemon must not find in their environment: its secrets, and how to speak in its name."""


def start_interpreter(fds: tuple[int, int], hidden_variables: Collection[str]) -> subprocess.Popen[bytes]:
    """Start a forkserver that serves the first of `fds` and hangs on the second."""
    return subprocess.Popen(
        [sys.executable, *_interpreter_flags(), "-c", _START, _source_roots(), *map(str, fds)],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in hidden_variables},
        start_new_session=True,
    )


def _interpreter_flags() -> list[str]:
    """Return this interpreter's own options (-O, -W, -X …), so that workers run under the same."""
    flags: list[str] = multiprocessing.util._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return flags


def _source_roots() -> str:
    """Return the folders that hold our two packages, joined by colons; found without importing anything."""
    specs = [importlib.util.find_spec(name) for name in ("workd", "workd_tasks")]
    return ":".join(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin))
