"""The Debian package, from its build to its purge, on a system that has nothing of workd. Each test goes on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from support.machines.fresh import new_container
from support.machines.service import CONFIG, OFFLINE, PACKAGES, RELEASE, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.base import Machine

JOBS = 400
BUILD_TIMEOUT_S = 400.0
NEXT_REVISION = """
cd /root/clone/dist
dpkg-deb --raw-extract workd_*-1_*.deb next
sed --in-place '/^Version:/s/-1$/-2/' next/DEBIAN/control
dpkg-deb -Znone --build next . >/dev/null
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A Debian with Redis and a package, built on it as `make deb` does with the wheel, and the revision after it."""
    with new_container("web4") as container:
        container.sh(
            f"{OFFLINE}{PACKAGES}\nsystemctl restart redis-server\ncp -r {RELEASE} /root/clone",
            timeout_s=BUILD_TIMEOUT_S,
        )
        container.sh("cd /root/clone; deploy/debian/build.sh dist/workd-*.whl", timeout_s=BUILD_TIMEOUT_S)
        container.sh(NEXT_REVISION, timeout_s=BUILD_TIMEOUT_S)
        yield container


@pytest.fixture(scope="module")
def service(machine: Machine) -> Service:
    return Service(machine)


def install(machine: Machine, revision: str) -> None:
    machine.sh(f"apt-get install --quiet /root/clone/dist/workd_*-{revision}_*.deb", timeout_s=BUILD_TIMEOUT_S)


def version(machine: Machine) -> str:
    return machine.run("dpkg-query", "--show", "--showformat", "${Version} ${db:Status-Status}", "workd")


def test_the_package_installs_a_command_units_and_a_user_and_starts_nothing(service: Service) -> None:
    machine = service.machine
    install(machine, "1")
    assert version(machine).endswith("-1 installed")
    assert machine.run("workd", "--version").startswith("workd ")
    assert machine.run("id", "--user", "--name", "workd").strip() == "workd"
    assert service.property("LoadState") == "loaded"
    assert service.property("ActiveState") == "inactive"
    assert not machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").strip()


def test_it_runs_jobs_after_its_settings_were_written(service: Service) -> None:
    service.machine.write("/etc/workd/workd.toml", CONFIG)
    service.write_tasks()
    service.machine.run("systemctl", "enable", "--now", service.unit)
    assert service.call("add", 19, 23) == 42


def test_an_upgrade_under_load_loses_nothing_and_keeps_the_settings(service: Service) -> None:
    machine, before = service.machine, service.main_pid()
    machine.run("touch", "/etc/workd/.workd.toml-is-unchanged")  # as an upgrade leaves it that ended in the middle
    ids = service.enqueue_many("count", [(number,) for number in range(JOBS)])
    machine.eventually(lambda: len(service.ran()) > 20)
    install(machine, "2")
    assert version(machine).endswith("-2 installed")
    assert service.values(ids) == list(range(JOBS))
    machine.eventually(lambda: service.main_pid() not in {0, before})  # the new version runs
    machine.eventually(lambda: service.property("ActiveState") == "active")
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))  # it drained: each once
    assert machine.run("cat", "/etc/workd/workd.toml") == CONFIG
    assert machine.run("systemctl", "is-enabled", service.unit).strip() == "enabled"


def test_a_removal_stops_the_daemon_and_leaves_settings_tasks_and_jobs(service: Service) -> None:
    machine = service.machine
    machine.run("apt-get", "remove", "--quiet", "workd")
    assert machine.tried("pgrep", "--uid", "workd").out == ""
    assert machine.tried("workd", "--version").code != 0
    assert machine.run("cat", "/etc/workd/workd.toml") == CONFIG
    machine.run("test", "-e", "/opt/workd/tasks/shop.py")
    assert not machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").strip()


def test_what_was_removed_comes_back_with_its_settings(service: Service) -> None:
    install(service.machine, "2")
    service.start()
    assert service.call("add", 1, 2) == 3


def test_a_purge_leaves_nothing_but_the_user_and_the_tasks(service: Service) -> None:
    machine = service.machine
    machine.run("apt-get", "purge", "--quiet", "workd")
    assert machine.tried("pgrep", "--uid", "workd").out == ""
    left = machine.sh("find / -xdev -name '*workd*' -not -name '*networkd*' -not -path '/root/*' -not -path '/tmp/*'")
    assert left.splitlines() == ["/opt/workd"]
    assert machine.run("find", "/opt/workd", "-type", "f").split() == ["/opt/workd/tasks/shop.py"]
    assert not machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").strip()
    assert machine.property("workd.service", "LoadState") == "not-found"
