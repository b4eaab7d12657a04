"""Several daemons on one machine: instances of workd@.service, each with a file of its own, and workd.target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.machines.service import CONFIG, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.base import Machine

Pair = tuple[Service, Service]


@pytest.fixture
def pair(service: Service) -> Iterator[Pair]:
    """Two instances, `a` and `b`, each with a queue of that name; not started."""
    machine = service.machine
    for name in "ab":
        machine.write(f"/etc/workd/{name}.toml", f'{CONFIG}queues = ["{name}"]\nhttp = ""\n')
    yield Service(machine, "workd@a.service", queue="a"), Service(machine, "workd@b.service", queue="b")
    machine.sh("systemctl disable --quiet --now workd@a workd@b; rm /etc/workd/a.toml /etc/workd/b.toml")


def test_each_instance_serves_the_queues_of_its_own_file(pair: Pair) -> None:
    a, b = pair
    a.start()
    b.start()
    assert a.main_pid() != b.main_pid()
    waiting = b.enqueue("add", 1, 2)
    assert a.call("add", 3, 4) == 7
    assert b.outcome(waiting)["daemon"] != a.outcome(a.enqueue("add", 5, 6))["daemon"]
    b.stop()
    left = b.enqueue("add", 7, 8)
    assert a.call("add", 9, 10) == 19
    assert b.machine.run("redis-cli", "xlen", "workd:{b}:stream").strip() == "1"  # nobody else takes it
    b.start()
    assert b.outcome(left)["value"] == 15


def test_the_target_stops_all_and_starts_those_that_are_enabled(pair: Pair) -> None:
    a, b = pair
    machine = a.machine
    machine.run("systemctl", "enable", "--now", a.unit)
    b.start()
    machine.run("systemctl", "stop", "workd.target")
    machine.eventually(lambda: [unit.property("ActiveState") for unit in pair] == ["inactive", "inactive"])
    assert [unit.property("Result") for unit in pair] == ["success", "success"]
    machine.run("systemctl", "start", "workd.target")
    machine.eventually(lambda: a.property("ActiveState") == "active")
    assert b.property("ActiveState") == "inactive"
    assert a.call("add", 1, 2) == 3


def test_one_instance_that_is_killed_leaves_the_other_alone(pair: Pair) -> None:
    a, b = pair
    a.start()
    b.start()
    before = a.main_pid(), b.main_pid()
    a.machine.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", a.unit)
    a.machine.eventually(lambda: a.main_pid() not in {0, before[0]})
    assert a.call("add", 1, 2) == 3
    assert b.main_pid() == before[1]
    assert b.property("NRestarts") == "0"


def test_a_probe_is_answered_through_a_restart_by_the_health_socket(service: Service) -> None:
    machine = service.machine
    machine.run("systemctl", "start", "workd-health.socket")
    try:
        service.start()
        assert ask_health(machine) == 200
        machine.run("systemctl", "restart", "--no-block", service.unit)
        assert ask_health(machine) == 200  # it waited, and was not refused
        assert "health is not answered here" not in machine.log(service.unit)
        service.stop()
        assert machine.active("workd-health.socket") == "inactive"
        assert service.property("ActiveState") == "inactive"  # no probe starts what was stopped
    finally:
        machine.run("systemctl", "stop", "workd-health.socket")


def ask_health(machine: Machine) -> int:
    """Ask /livez once, with time for a start; a refused connection fails."""
    script = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9977/livez', timeout=60).status)"
    return int(machine.run("python3", "-c", script))
