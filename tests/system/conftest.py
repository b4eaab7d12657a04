"""Machines with a booted systemd. What is slow to make is made once, whichever test or xdist worker asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.machines.fresh import new_container, new_virtual_machine
from support.machines.service import INSTALL, OFFLINE, PACKAGES, Service

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from support.machines.base import Machine

# A boot, an installation and what waits in systemd for its own time.
TIMEOUT_S = 900
INSTALL_TIMEOUT_S = 400.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests the time that booting takes."""
    for item in items:
        if "system" in item.path.parts[-2:]:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A container with redis-server and workd, installed as the documentation says; nothing runs but Redis."""
    with new_container("web1") as container:
        container.sh(OFFLINE + PACKAGES + "systemctl restart redis-server", timeout_s=INSTALL_TIMEOUT_S)
        container.sh(INSTALL, timeout_s=INSTALL_TIMEOUT_S)
        yield container


@pytest.fixture(scope="session")
def virtual_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A virtual machine with the same in it: a kernel of its own, with cgroup v2."""
    disk = tmp_path_factory.mktemp("machine") / "disk"
    try:
        with new_virtual_machine(disk) as machine:
            yield machine
    finally:
        disk.unlink(missing_ok=True)


@pytest.fixture
def service(machine: Machine) -> Service:
    """The workd of that machine: stopped, with the settings and tasks of the start, an empty Redis and no drop-ins."""
    service = Service(machine)
    service.forget()
    return service


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the unit has logged beside a test that failed."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if call.when == "call" and report.failed and isinstance(service, Service):
        with_status = service.machine.tried("systemctl", "status", "--no-pager", "--lines=0", service.unit).out
        log = "\n".join(service.machine.log(service.unit).splitlines()[-60:])
        report.sections.append((f"{service.unit} on {type(service.machine).__name__}", f"{with_status}\n{log}"))
    return report
