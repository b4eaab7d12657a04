"""All checks, one after the other: settings, units, files, machine, tasks, server, daemons.

Called by `workd doctor`. A check that fails itself is a finding like any other, and the next one is made all the same.
"""

from __future__ import annotations

import os
import subprocess
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd import redis_url, settings
from workd.client.admin import Admin
from workd.client.links import link_to
from workd.client.sync import Client
from workd.doctor import answers, configuration, files, fleet, machine, rights, server, tasks, unit_checks, units
from workd.doctor.findings import Finding, Level, note, warning
from workd.errors import ClientError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from workd.doctor.units import Unit

_DEADLINE_S: Final = 5.0
_CREDENTIALS: Final = (Path("/etc/credstore"), Path("/run/credstore"), Path("/usr/lib/credstore"))


@dataclass(frozen=True, slots=True)
class Case:
    """What is known before anything is looked at more closely."""

    loaded: settings.Loaded
    config: Path | None
    modules: tuple[str, ...]
    units: tuple[Unit, ...]

    @property
    def settings(self) -> settings.Settings:
        """The settings of the daemon in question."""
        return self.loaded.settings

    @property
    def unit(self) -> Unit | None:
        """The unit in question."""
        return chosen(self.units, self.config)

    @property
    def user(self) -> files.User:
        """Who runs the daemon: the unit's user, or whoever asks."""
        named = self.unit["User"] if self.unit is not None else ""
        return (files.User.of(named) if named else None) or files.User.current()


def examine(flags: Mapping[str, object], config: Path | None, modules: Iterable[str] = ()) -> Iterator[Finding]:
    """Make all checks, and yield what each has found as soon as it has."""
    known, about_units = _units()
    unit = chosen(known, config)
    brought, unread = brings(unit) if unit is not None else ([], [])
    loaded, found = configuration.read(flags, config, brought)
    hidden = unit is not None and "signing_keys" in unit["LoadCredential"] and os.geteuid() != 0
    yield from (*found, *unread, configuration.signatures(loaded.settings, hidden=hidden), *about_units)
    case = Case(loaded, config, tuple(modules) or loaded.settings.modules, tuple(known))
    for area, check in _CHECKS.items():
        yield from _guarded(area, lambda check=check: check(case))  # type: ignore[misc]


def worst(found: Iterable[Finding]) -> Level:
    """Say how bad the worst of them is."""
    order = list(Level)
    return max((one.level for one in found), key=order.index, default=Level.OK)


def _guarded(area: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - of whatever kind: the others are to be made
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        text = f"this check has failed itself: {type(error).__name__}: {error} ({where})"
        yield warning(f"{area}.failed", text, "a mistake of workd's: please report it with this line")


# ── what there is ──


def _units() -> tuple[list[Unit], list[Finding]]:
    if not units.booted():
        return [], [note("units.installed", "systemd does not run here: no units were looked at")]
    try:
        found = units.ask()
    except (OSError, subprocess.SubprocessError) as error:
        return [], [note("units.installed", f"systemctl does not answer: {error}")]
    return found, [] if found else [unit_checks.none_installed()]


def chosen(known: Sequence[Unit], config: Path | None) -> Unit | None:
    """Return the unit that runs with the settings file in question, or the only one."""
    wanted = config or settings.DEFAULT_CONFIG
    matching = [unit for unit in known if unit.config == wanted]
    return next(iter(matching or (known if len(known) == 1 and config is None else ())), None)


def brings(unit: Unit) -> tuple[list[settings.Layer], list[Finding]]:
    """Return what a unit gives its daemon beside the file, from the weakest on, and what of it cannot be read here."""
    layers: list[settings.Layer] = []
    unread: list[Finding] = []
    for name, path in credentials(unit).items():
        try:
            layers += [(str(path), {name: path.read_text(encoding="utf-8").strip()})] * (name in settings.SECRETS)
        except (OSError, ValueError):
            unread.append(note("settings.credentials", f"{path} cannot be read here", "ask again as root"))
    words = {settings.variable(name): name for name in settings.names()}
    variables = {words[word]: value for word, value in unit.environment.items() if word in words}
    return [*layers, (f"Environment= of {unit.name}", variables), (f"ExecStart= of {unit.name}", _flags(unit))], unread


def _flags(unit: Unit) -> dict[str, object]:
    """Read the settings in a unit's command, and the modules that it names."""
    found: dict[str, object] = {}
    modules: list[str] = []
    words = iter(unit.words)
    for word in words:
        flag, equals, value = word.removeprefix("--").partition("=")
        field = settings.Settings.model_fields.get(name := flag.replace("-", "_"))
        if not word.startswith("-"):
            modules.append(word)
        elif field is not None:
            found[name] = value if equals else field.annotation is bool or next(words, "")
        elif flag == "config" and not equals:
            next(words, "")
    return found | ({"modules": tuple(modules)} if modules else {})


def credentials(unit: Unit) -> dict[str, Path]:
    """Find the files of a unit's `LoadCredential=NAME:PATH`, as far as there are any."""
    found = {}
    for word in unit["LoadCredential"].split():
        name, _, place = word.partition(":")
        candidates = [Path(place)] if place.startswith("/") else [folder / (place or name) for folder in _CREDENTIALS]
        if (path := next((path for path in candidates if _is_file(path)), None)) is not None:
            found[name] = path
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that we may not search
        return False


# ── the checks ──


def _about_units(case: Case) -> Iterator[Finding]:
    for unit in case.units:
        drain_s = case.settings.drain_s
        if unit.config is not None and unit is not case.unit:
            try:
                drain_s = settings.load({}, unit.config, brings(unit)[0]).settings.drain_s
            except SettingsError as error:
                yield Finding("settings.values", Level.PROBLEM, f"{unit.name}: {error}", f"mend {unit.config}")
        yield from unit_checks.examine(unit, drain_s)


def _about_files(case: Case) -> Iterator[Finding]:
    path = case.config or settings.DEFAULT_CONFIG
    if path.exists():
        yield from files.config(path, case.user)
    else:
        yield note("files.config", f"there is no {path}", f"`workd config --template > {path}` makes one to begin with")
    if case.unit is not None:
        for name, place in credentials(case.unit).items():
            yield files.credential(name, place)
    for one in (
        files.health_socket(case.settings.http, case.user),
        files.redis_socket(case.settings.redis_url, case.user),
    ):
        if one is not None:
            yield one


def _about_machine(case: Case) -> Iterator[Finding]:
    unit = case.unit
    if unit is None:
        return iter(machine.examine(machine.look(), case.settings))
    limits = {"open_files": unit.number("LimitNOFILE"), "tasks": unit.number("TasksMax")}
    return iter(machine.examine(machine.look(unit["ControlGroup"], **limits), case.settings))


def _about_tasks(case: Case) -> Iterator[Finding]:
    environ = case.unit.environment if case.unit is not None else {}
    folder = case.unit["WorkingDirectory"].lstrip("!-") if case.unit is not None else ""
    return iter(
        tasks.examine(
            case.modules, case.settings.boot_timeout_s, environ, folder if Path(folder or "-").is_dir() else None
        )
    )


def _about_server(case: Case) -> Iterator[Finding]:
    url = case.settings.redis_url
    several = redis_url.several(url)
    link = link_to(url, _DEADLINE_S)
    try:
        nodes = link.each() if several is not None else [link]
        for node in nodes:
            yield from _one_server(
                lambda *words, node=node: node.call(words),
                node.url,
                by_sentinels=several is not None and "sentinel" in url.partition("://")[0],
                in_cluster=several is not None and "cluster" in url.partition("://")[0],
            )
    except ClientError as error:
        yield Finding("server.reachable", Level.PROBLEM, str(error), "start it, or say where it is: redis_url")
    finally:
        link.close()


def _one_server(ask: server.Ask, url: str, **kind: bool) -> Iterator[Finding]:
    there = server.reachable(ask, url)
    yield there
    if there.level is Level.PROBLEM:
        return
    said = server.question(ask)
    yield server.version(said)
    yield from server.keeps_jobs(said, **kind)
    yield from server.writes(said)
    yield from server.memory(said)
    yield from server.connections(said)
    yield server.clock_skew(ask)
    yield from rights.examine(ask)
    yield from server.refused(said)


def _about_daemons(case: Case) -> Iterator[Finding]:
    unit = case.unit
    yield answers.daemon(case.settings.http, expected=unit is not None and unit.active)
    yield from answers.log_target(unit)
    url = case.settings.redis_url
    try:
        with Client(url, deadline_s=_DEADLINE_S) as client:
            yield from fleet.daemons(client.daemons())
        yield from _about_queues(url, case.settings.queues)
    except ClientError as error:
        yield note("fleet.daemons", f"not known: {error}")


def _about_queues(url: str, names: Iterable[str]) -> Iterator[Finding]:
    link = link_to(url, _DEADLINE_S)
    try:
        with Admin(url, deadline_s=_DEADLINE_S) as admin:
            for name in names:
                wrong = fleet.strangers(name, lambda key: str(link.call(("TYPE", key)), "ascii"))
                yield from fleet.queue(admin.queues.state(name), wrong)
    finally:
        link.close()


_CHECKS: Final[dict[str, Callable[[Case], Iterable[Finding]]]] = {
    "units": _about_units,
    "files": _about_files,
    "machine": _about_machine,
    "tasks": _about_tasks,
    "server": _about_server,
    "daemon": _about_daemons,
}
