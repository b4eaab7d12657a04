"""Machines with a booted systemd. What is slow to make is made once, whichever test or xdist worker asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.machines.able import CannotBootError, why_no_container, why_no_virtual_machine
from support.machines.container import Container
from support.machines.debian import kernel_image, root_folder
from support.machines.release import release, wheel_house
from support.machines.service import INSTALL, INTO_AN_IMAGE, OFFLINE, PACKAGES, RELEASE, WHEELS, Service
from support.machines.virtual import VirtualMachine, make_disk

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from support.machines.base import Machine

# A boot, an installation and what waits in systemd for its own time.
TIMEOUT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests the time that booting takes."""
    for item in items:
        if "system" in item.path.parts[-2:]:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def new_container(hostname: str) -> Container:
    """Return a machine that nobody has touched, not booted yet; skip the test where that is impossible."""
    if reason := why_no_container():
        pytest.skip(reason)
    try:
        folders = {WHEELS: wheel_house(), RELEASE: release()}
        return Container(root_folder(), folders, hostname)
    except CannotBootError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A container with redis-server and workd, installed as the documentation says; nothing runs but Redis."""
    with new_container("web1") as container:
        container.sh(OFFLINE + PACKAGES + "systemctl restart redis-server")
        container.sh(INSTALL)
        yield container


@pytest.fixture(scope="session")
def virtual_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A virtual machine with the same in it: a kernel of its own, with cgroup v2."""
    if reason := why_no_virtual_machine():
        pytest.skip(reason)
    disk = tmp_path_factory.mktemp("machine") / "disk"
    try:
        make_disk(root_folder(), disk, INTO_AN_IMAGE, str(wheel_house()), str(release()))
        with VirtualMachine(kernel_image(), disk) as machine:
            yield machine
    except CannotBootError as error:
        pytest.skip(str(error))
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
