"""`python -m workd.cli.hangup PID`: what `systemctl reload` runs: SIGHUP, and a wait for how the reload ends.

A bare `kill -HUP` would be over before the reload has begun, and could not tell that the new code does not import. The
daemon counts its reloads on the health socket that it has beside its runtime directory. The standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workd.address import UnixAddress, of_instance
from workd.cli.health import ask
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_S = 0.1
_ANSWER_S = 30.0  # for one answer: a machine may be very busy


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Have the daemon with this process id reload; the exit code says how that went, stderr why it failed."""
    if len(argv) != 1 or not argv[0].isascii() or not argv[0].isdigit() or int(argv[0]) <= 1:
        sys.stderr.write("workd: usage: python -m workd.cli.hangup PID\n")
        return Exit.USAGE
    pid = int(argv[0])
    where = of_instance(environ, pid)
    try:
        trouble = _reload(pid, where if where is not None and Path(where.path).exists() else None)
    except ProcessLookupError:
        trouble = f"there is no process {pid}"
    except (OSError, ValueError) as error:
        trouble = str(error)
    if trouble:
        sys.stderr.write(f"workd: the reload failed: {trouble}\n")
    return Exit.FAILURE if trouble else Exit.OK


def _reload(pid: int, where: UnixAddress | None) -> str:
    """Send the signal and wait for the end of a reload that began after it; return what went wrong."""
    if where is None:  # the setting http is empty: nobody says when it is over
        os.kill(pid, signal.SIGHUP)
        return ""
    before = _report(where)
    awaited = int(before["reloads"]) + (2 if before["reloading"] else 1)  # the one under way may have read the old code
    os.kill(pid, signal.SIGHUP)
    while int((now := _report(where))["reloads"]) < awaited:
        time.sleep(_POLL_S)
    return str(now["reload_trouble"])


def _report(where: UnixAddress) -> dict[str, Any]:
    report = ask(where, "/livez", _ANSWER_S).report
    if "reloads" not in report:
        raise ValueError(f"{where} does not say how many reloads there were: it is another version of workd")
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
