"""What the doctor says of units, by what systemd says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workd.doctor import unit_checks, units
from workd.doctor.findings import Level

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "Id": "workd.service",
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "FragmentPath": "/usr/lib/systemd/system/workd.service",
    "DropInPaths": "",
    "NeedDaemonReload": "no",
    "NRestarts": "0",
    "Type": "notify",
    "TimeoutStopUSec": "45s",
    "WatchdogUSec": "30s",
    "OOMPolicy": "continue",
    "ExecStart": "{ path=/usr/bin/env ; argv[]=/usr/bin/env workd run --config /etc/workd/workd.toml ; }",
    "Environment": 'PATH=/opt/workd/bin "PYTHONPATH=/srv/my tasks"',
}


def unit(**changes: str) -> units.Unit:
    return units.Unit(GOOD | changes)


def test_a_unit_as_it_should_be_has_nothing_but_ok() -> None:
    found = unit_checks.examine(unit(), 30, lambda _: True)
    assert {one.level for one in found} == {Level.OK}
    assert {one.check for one in found} == {"units.state", "units.stop", "units.watchdog"}


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({"LoadState": "masked"}, "units.state", Level.PROBLEM),
        ({"LoadState": "bad-setting"}, "units.state", Level.PROBLEM),
        ({"ActiveState": "failed", "Result": "exit-code"}, "units.state", Level.PROBLEM),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "units.state", Level.PROBLEM),
        ({"ActiveState": "activating", "SubState": "start"}, "units.state", Level.WARNING),
        ({"ActiveState": "inactive", "SubState": "dead"}, "units.state", Level.NOTE),
        ({"NeedDaemonReload": "yes"}, "units.state", Level.WARNING),
        ({"NRestarts": "3"}, "units.state", Level.NOTE),
        ({"UnitFileState": "disabled"}, "units.enabled", Level.NOTE),
        ({"FragmentPath": "/etc/systemd/system/workd.service"}, "units.shadowed", Level.WARNING),
        ({"DropInPaths": "/etc/systemd/system/workd.service.d/override.conf"}, "units.shadowed", Level.NOTE),
        ({"TimeoutStopUSec": "20s"}, "units.stop", Level.WARNING),
        ({"Type": "simple"}, "units.ready", Level.WARNING),
        ({"WatchdogUSec": "0"}, "units.watchdog", Level.WARNING),
        ({"OOMPolicy": "stop"}, "units.memory", Level.WARNING),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, str], check: str, level: Level) -> None:
    found = unit_checks.examine(unit(**changes), 30, lambda _: True)
    assert (check, level) in {(one.check, one.level) for one in found}
    assert all(one.said.startswith("workd.service: ") for one in found)
    assert all(one.todo for one in found if one.level in {Level.WARNING, Level.PROBLEM})


def test_a_unit_of_ones_own_shadows_nothing() -> None:
    own = unit(FragmentPath="/etc/systemd/system/workd.service")
    assert "units.shadowed" not in {one.check for one in unit_checks.examine(own, 30, lambda _: False)}


def test_properties_are_read_as_systemd_writes_them() -> None:
    text = "Id=workd@a.service\nLoadCredential=redis_url:a\nLoadCredential=signing_keys:b\n\nId=workd@b.service\n"
    first, second = units.read(text)
    assert (first.name, first["LoadCredential"]) == ("workd@a.service", "redis_url:a signing_keys:b")
    assert (second.name, second["Nothing"], second.installed) == ("workd@b.service", "", False)
    assert str(unit().config) == "/etc/workd/workd.toml"
    assert unit().environment == {"PATH": "/opt/workd/bin", "PYTHONPATH": "/srv/my tasks"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("1min 30s", 90), ("2h", 7200), ("500ms", 0.5), ("0", 0), ("infinity", None), ("", None)],
)
def test_spans_are_read(text: str, seconds: float | None) -> None:
    assert unit(TimeoutStopUSec=text).seconds("TimeoutStopUSec") == seconds


@pytest.mark.parametrize(("text", "number"), [("4096", 4096), ("infinity", None), ("18446744073709551615", None)])
def test_limits_are_read(text: str, number: int | None) -> None:
    assert unit(TasksMax=text).number("TasksMax") == number


def test_instances_are_found_by_asking_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        '#!/bin/sh\nshift\ncase "$1" in\n'
        "list-unit-files) echo 'workd.service enabled enabled'; echo 'workd@.service disabled enabled' ;;\n"
        "list-units) echo 'workd@images.service loaded active running workd' ;;\n"
        'show) shift 4; for unit; do printf "Id=%s\\nLoadState=loaded\\n\\n" "$unit"; done ;;\nesac\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert [one.name for one in units.ask()] == ["workd.service", "workd@images.service"]
