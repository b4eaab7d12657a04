"""Whether a daemon of this machine answers, and whether anybody keeps what it logs."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd import address
from workd.cli import health
from workd.doctor.findings import Finding, note, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.doctor.units import Unit

_TIMEOUT_S: Final = 2.0
_JOURNAL: Final = Path("/run/systemd/journal/socket")
_LOGS: Final = (Path("/var/log/journal"), Path("/run/log/journal"), Path("/var/log"))
_NEARLY_FULL: Final = 0.95


def daemon(http: str, *, expected: bool, ask: Callable[..., health.Answer] = health.ask) -> Finding:
    """Ask at the address of the settings; `expected`: a unit says that a daemon runs."""
    if not http:
        return note("daemon.answers", "http is empty: nobody can ask this daemon how it is")
    where = address.parse(http)
    try:
        answer = ask(where, "/readyz", _TIMEOUT_S)
    except (OSError, ValueError) as error:
        if "is not a workd" in str(error):
            todo = "let http in the settings name another port: this one is taken"
            return problem("daemon.answers", str(error), todo)
        if expected:
            todo = "is http the same in its settings? `journalctl` tells whether the address was taken"
            return problem("daemon.answers", f"a unit runs, and {error}", todo)
        return note("daemon.answers", f"{error}", "`workd run MODULE`, or `systemctl start workd`, starts one")
    reasons = answer.report.get("reasons")
    if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
        return ok("daemon.answers", f"a daemon at {where} is ready")
    said = "; ".join(map(str, reasons)) if isinstance(reasons, list) else f"HTTP {answer.status}"
    return warning("daemon.answers", f"the daemon at {where} is not ready: {said}", "see what it logs")


def log_target(unit: Unit | None) -> list[Finding]:
    """Say where its lines go, and whether there is room for them."""
    if unit is None:
        return [_own_target()]
    target = unit["StandardError"]
    if target == "null":
        todo = f"`systemctl edit {unit.name}`: [Service] StandardError=journal"
        return [warning("log.target", f"{unit.name} logs nowhere: StandardError is null", todo)]
    if target in {"journal", "inherit", ""} and not _JOURNAL.exists():
        return [warning("log.target", f"the journal of {unit.name} is away", "`systemctl start systemd-journald`")]
    folder = next((path for path in _LOGS if path.is_dir()), Path("/"))
    return [ok("log.target", f"{unit.name} logs to {target or 'the journal'}"), *room(folder, _used(folder))]


def room(folder: Path, used: float) -> list[Finding]:
    """Say whether logs still have room; `used` is the share of the file system that is taken."""
    if used < _NEARLY_FULL:
        return []
    text = f"the file system of {folder} is {used:.0%} full: lines will be dropped"
    return [warning("log.room", text, "make room: `journalctl --vacuum-size=500M`, SystemMaxUse= in journald.conf")]


def _used(folder: Path) -> float:
    found = os.statvfs(folder)
    return 1 - found.f_bavail / found.f_blocks if found.f_blocks else 0.0


def _own_target() -> Finding:
    """Say where a daemon that was started here would log: the stderr of this process."""
    try:
        mode = os.fstat(2).st_mode
    except OSError:
        return warning(
            "log.target", "stderr is closed: a daemon that is started here logs nowhere", "redirect 2> a file"
        )
    if stat.S_ISCHR(mode) and not os.isatty(2):
        return note("log.target", "a daemon that is started here logs to a device, perhaps /dev/null")
    kind = (
        "a terminal"
        if os.isatty(2)
        else "a pipe"
        if stat.S_ISFIFO(mode)
        else "a file"
        if stat.S_ISREG(mode)
        else "a socket"
    )
    return ok("log.target", f"a daemon that is started here logs to {kind}")
