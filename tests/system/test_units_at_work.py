"""What the units promise beyond start and stop: a socket that is there first, a reload that tells how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.service import Service

pytestmark = pytest.mark.xdist_group("container")

SOCKET = "workd-health.socket"
PROBE = ("/opt/workd/bin/workd", "health", "--live", "--timeout-s", "60")


@pytest.fixture
def socket(service: Service) -> Iterator[str]:
    """The health socket, enabled: it comes and goes with the daemon."""
    service.machine.run("systemctl", "enable", SOCKET)
    yield SOCKET
    service.machine.run("systemctl", "disable", "--now", SOCKET)


def test_a_probe_from_before_the_daemon_is_answered(service: Service, socket: str) -> None:
    service.machine.run("systemctl", "start", socket)
    assert service.property("ActiveState") == "inactive"
    assert service.machine.run(*PROBE).strip() == "alive"  # it has waited for the daemon, and started it
    service.machine.eventually(lambda: service.property("ActiveState") == "active")
    assert service.call("add", 1, 2) == 3


def test_the_socket_goes_with_the_daemon_so_that_no_probe_starts_what_was_stopped(
    service: Service, socket: str
) -> None:
    service.start()
    assert service.machine.active(socket) == "active"
    service.machine.run("systemctl", "restart", service.unit)
    assert service.machine.active(socket) == "active"
    service.stop()
    service.machine.eventually(lambda: service.machine.active(socket) == "inactive")
    assert service.machine.tried(*PROBE).code != 0
    assert service.property("ActiveState") == "inactive"


def test_a_reload_of_new_code_is_over_when_it_runs_and_one_of_bad_code_fails(service: Service) -> None:
    service.start()
    service.write_tasks({'VERSION = "first"': 'VERSION = "second"'})
    service.machine.run("systemctl", "reload", service.unit)
    assert service.call("version") == "second"
    service.write_tasks({"import logging": "import a_module_that_nobody_has"})
    assert service.machine.tried("systemctl", "reload", service.unit).code != 0
    assert service.call("version") == "second"
    assert service.property("ActiveState") == "active"
