"""The command line of our interpreters, and what they must not find in their environment.

Imports nothing heavy, since it runs before anything else does.
"""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
from typing import Final

import workd

# What `-m workd.pool.child.forkserver` does, for the very workd that runs here, however this program's path came to be.
# Without collections while it imports: nothing becomes garbage then, and looking for it takes a tenth of the time.
_START: Final = """\
import gc, sys
collects = gc.isenabled()
gc.disable()
roots = sys.argv[1].split(":")
sys.path[:0] = roots
import workd
del sys.path[: len(roots)]
sys.path += [root for root in roots if root not in sys.path]
from workd.pool.child.forkserver import main
main(sys.argv[1:], collects=collects)
"""


SERVICE_VARIABLES: Final = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
)
"""How to speak to the service manager in the name of the program, and what it has opened for it: for no worker."""

DAEMON_VARIABLES: Final = frozenset({*SERVICE_VARIABLES, "CREDENTIALS_DIRECTORY", "WORKD_REDIS_URL"})
"""What workers of the daemon must not find in their environment: its secrets as well."""


def command() -> list[str]:
    """Return the command line that runs `forkserver.main` in a fresh interpreter; its arguments are to follow."""
    return [_executable(), *_interpreter_flags(), "-c", _START, _source_roots()]


def _executable() -> str:
    """Return the interpreter that `multiprocessing.set_executable` named: programs that embed Python need it."""
    # Where the module is not there, or another thread is only just importing it, nobody can have named one.
    get_executable = getattr(sys.modules.get("multiprocessing.spawn"), "get_executable", None)
    named = sys.executable if get_executable is None else os.fsdecode(get_executable())
    if "/" in named:
        return named
    import shutil

    return shutil.which(named) or named


def _interpreter_flags() -> list[str]:
    """Return this interpreter's own options (-O, -W, -X …), so that workers run under the same."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return flags


def _source_roots() -> str:
    """Return the folders that hold our two packages, joined by colons."""
    tasks = importlib.machinery.PathFinder.find_spec("workd_tasks")  # not imported: who only makes a pool needs none
    files = [workd.__file__, tasks.origin if tasks is not None else None]
    return ":".join(dict.fromkeys(os.path.dirname(os.path.dirname(file)) for file in files if file))  # noqa: PTH120
