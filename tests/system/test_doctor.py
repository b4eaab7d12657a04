"""`workd doctor` beside real units: what systemd says is read as it says it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.machines.service import Service

DROP_IN = "/run/systemd/system/workd.service.d/doctored.conf"


def found(service: Service) -> dict[str, dict[str, str]]:
    """What the doctor says as root, by check; of several the worst."""
    done = service.machine.tried("/opt/workd/bin/workd", "doctor", "--json")
    levels = ("ok", "note", "warning", "problem")
    findings = sorted(json.loads(done.out)["findings"], key=lambda one: levels.index(one["level"]))
    return {one["check"]: one for one in findings}


def test_a_service_that_runs_has_no_problem(service: Service) -> None:
    service.start()
    said = found(service)
    assert [one for one in said.values() if one["level"] == "problem" or one["check"].endswith(".failed")] == []
    for check in ("units.state", "units.stop", "units.watchdog", "files.config", "tasks.import", "daemon.answers"):
        assert said[check]["level"] == "ok", said[check]
    assert "workd.service" in said["units.state"]["said"]
    assert said["fleet.daemons"]["level"] == "ok"


def test_a_unit_that_kills_before_the_drain_is_over_is_found(service: Service) -> None:
    text = "[Service]\nTimeoutStopSec=5\nOOMPolicy=stop\nWatchdogSec=0\n"
    service.machine.sh(f"mkdir -p $(dirname {DROP_IN})")
    service.machine.write(DROP_IN, text)
    service.machine.sh("systemctl daemon-reload")
    service.start()
    said = found(service)
    assert said["units.stop"]["level"] == "warning"
    assert "drain_s 20 s" in said["units.stop"]["said"]
    assert said["units.memory"]["level"] == "warning"
    assert said["units.watchdog"]["level"] == "warning"
    assert DROP_IN in said["units.shadowed"]["said"]


def test_a_secret_that_all_may_read_and_a_file_that_the_daemon_may_not_are_found(service: Service) -> None:
    machine = service.machine
    config = 'redis_url = "redis://:hunter2@localhost:6379/0"\nmodules = ["shop"]\n'
    machine.write("/etc/workd/workd.toml", config)
    machine.sh("chmod 644 /etc/workd/workd.toml")
    said = found(service)
    assert said["files.secrets"]["level"] == "problem"
    assert "hunter2" not in json.dumps(said)
    machine.sh("chmod 600 /etc/workd/workd.toml; chown root: /etc/workd/workd.toml")
    said = found(service)
    assert said["files.config"]["level"] == "problem"
    assert "workd, who runs the daemon, cannot read" in said["files.config"]["said"]
    machine.sh("chmod 644 /etc/workd/workd.toml")


def test_a_service_that_has_failed_is_found(service: Service) -> None:
    service.machine.write("/etc/workd/workd.toml", "lease_s = 0\n")
    service.machine.tried("systemctl", "start", service.unit)
    said = found(service)
    assert said["settings.values"]["level"] == "problem"
    assert said["units.state"]["level"] == "problem"
