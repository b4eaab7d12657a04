"""Whether the units are such that a daemon starts, is watched, and can drain. Pure; `units.py` asks systemd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd.doctor.findings import Finding, note, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.doctor.units import Unit

_PACKAGED: Final = ("/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system")
_DROP_IN: Final = "`systemctl edit {unit}`: [Service] {line}, then restart it"


def examine(unit: Unit, drain_s: float, exists: Callable[[Path], bool] = Path.exists) -> list[Finding]:
    """Look at one unit; `drain_s` is the setting of its daemon."""
    found = [
        *_state(unit),
        *_enabled(unit),
        *_shadowed(unit, exists),
        *_stop(unit, drain_s),
        *_watched(unit),
        *_out_of_memory(unit),
    ]
    return [Finding(one.check, one.level, f"{unit.name}: {one.said}", one.todo) for one in found]


def none_installed() -> Finding:
    """Say that this machine runs no daemon as a service."""
    return note(
        "units.installed", "no unit of workd is installed here", "as a service: deploy/install.sh, or the package"
    )


def _state(unit: Unit) -> list[Finding]:
    log = f"`journalctl -u {unit.name} -n 50` says why; then `systemctl restart {unit.name}`"
    if unit["LoadState"] == "masked":
        return [problem("units.state", "it is masked: nobody can start it", f"`systemctl unmask {unit.name}`")]
    if unit["LoadState"] in {"error", "bad-setting"}:
        return [
            problem(
                "units.state", f"systemd cannot read it: {unit['LoadState']}", f"`systemd-analyze verify {unit.name}`"
            )
        ]
    if unit["ActiveState"] == "failed":
        return [problem("units.state", f"it has failed ({unit['Result']})", log)]
    if unit["SubState"] == "auto-restart":
        return [problem("units.state", "it ends again and again, and systemd starts it anew", log)]
    if unit["ActiveState"] == "activating":
        return [
            warning("units.state", "it is still starting: not ready", f"is Redis there? `systemctl status {unit.name}`")
        ]
    found = [] if unit.active else [note("units.state", "it does not run", f"`systemctl start {unit.name}`")]
    if unit["NeedDaemonReload"] == "yes":
        found.append(warning("units.state", "its file has changed since systemd read it", "`systemctl daemon-reload`"))
    if (restarts := unit.number("NRestarts")) and unit.active:
        found.append(note("units.state", f"systemd has started it anew {restarts} times", log))
    return found or [ok("units.state", "it runs")]


def _enabled(unit: Unit) -> list[Finding]:
    state = unit["UnitFileState"]
    if state in {"disabled", "indirect"}:
        return [note("units.enabled", "it does not start with the machine", f"`systemctl enable {unit.name}`")]
    return []


def _shadowed(unit: Unit, exists: Callable[[Path], bool]) -> list[Finding]:
    """Find what takes the place of a file that came with a package, or changes it."""
    found = []
    fragment = Path(unit["FragmentPath"])
    packaged = [Path(folder) / fragment.name for folder in _PACKAGED]
    if str(fragment).startswith("/etc/") and any(map(exists, packaged)):
        text = f"{fragment} takes the place of the file that the package brings, also of its newer versions"
        todo = f"keep only the differences, as a drop-in (`systemctl edit {unit.name}`), and remove the file"
        found.append(warning("units.shadowed", text, todo))
    if drop_ins := unit["DropInPaths"].split():
        found.append(note("units.shadowed", f"changed by {', '.join(drop_ins)}"))
    return found


def _stop(unit: Unit, drain_s: float) -> list[Finding]:
    stop_s = unit.seconds("TimeoutStopUSec")
    if stop_s is None:
        return []
    if stop_s <= drain_s:
        text = f"TimeoutStopSec is {stop_s:g} s, drain_s {drain_s:g} s: jobs are killed before their time"
        todo = _DROP_IN.format(unit=unit.name, line=f"TimeoutStopSec={drain_s + 15:.0f}")
        return [warning("units.stop", text, todo)]
    return [ok("units.stop", f"TimeoutStopSec ({stop_s:g} s) is longer than drain_s ({drain_s:g} s)")]


def _watched(unit: Unit) -> list[Finding]:
    if unit["Type"] not in {"notify", "notify-reload"}:
        todo = _DROP_IN.format(unit=unit.name, line="Type=notify")
        return [warning("units.ready", f"Type is {unit['Type']}: systemd does not hear when the daemon is ready", todo)]
    if not unit.seconds("WatchdogUSec"):
        todo = _DROP_IN.format(unit=unit.name, line="WatchdogSec=30")
        return [warning("units.watchdog", "no watchdog: a daemon that hangs is left hanging", todo)]
    return [ok("units.watchdog", f"watched: WatchdogSec is {unit.seconds('WatchdogUSec'):g} s")]


def _out_of_memory(unit: Unit) -> list[Finding]:
    if unit["OOMPolicy"] in {"stop", "kill"}:
        text = (
            f"OOMPolicy is {unit['OOMPolicy']}: one task that takes too much memory ends the daemon with all its jobs"
        )
        return [warning("units.memory", text, _DROP_IN.format(unit=unit.name, line="OOMPolicy=continue"))]
    return []
