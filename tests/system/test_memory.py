"""What needs a kernel of its own, in a virtual machine: cgroup v2 with the unit's MemoryMax, and a clock that jumps.

One start for all: emulation is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.machines.service import Service

if TYPE_CHECKING:
    from support.machines.base import Machine

LIMIT_MIB = 250
TOO_MUCH_MIB = 400


@pytest.fixture(scope="module")
def service(virtual_machine: Machine) -> Service:
    service = Service(virtual_machine)
    service.forget()
    service.drop_in(f"[Service]\nMemoryMax={LIMIT_MIB}M\nMemorySwapMax=0\n")
    service.start()
    return service


def test_a_unit_is_installed_into_an_image_and_started_by_a_real_boot(service: Service) -> None:
    assert service.property("ActiveState") == "active"
    assert "2/2" in service.property("StatusText")
    assert service.call("add", 19, 23) == 42


def test_the_limits_of_the_unit_are_those_of_its_cgroup(service: Service) -> None:
    assert service.machine.run("stat", "--file-system", "--format=%T", "/sys/fs/cgroup").strip() == "cgroup2fs"
    folder = f"/sys/fs/cgroup{service.property('ControlGroup')}"
    assert int(service.machine.run("cat", f"{folder}/memory.max")) == LIMIT_MIB * 1024 * 1024
    assert service.machine.run("cat", f"{folder}/memory.oom.group").strip() == "0"  # OOMPolicy=continue: one, not all


def test_a_worker_that_takes_too_much_is_killed_and_the_service_lives(service: Service) -> None:
    daemon = service.main_pid()
    greedy, modest = service.enqueue("eat", TOO_MUCH_MIB), service.enqueue_many("add", [(n, n) for n in range(20)])
    assert service.values(modest) == [2 * n for n in range(20)]
    outcome = service.outcome(greedy)
    assert outcome["status"] == "dead"
    assert outcome["error"]["type"] == "WorkerDied"
    assert "OOM killer" in outcome["error"]["message"], outcome
    assert "MiB" in outcome["error"]["message"]

    folder = f"/sys/fs/cgroup{service.property('ControlGroup')}"
    events = dict(line.split() for line in service.machine.run("cat", f"{folder}/memory.events").splitlines())
    assert int(events["oom_kill"]) >= 1  # it was the kernel, by this limit
    assert service.main_pid() == daemon
    assert service.property("NRestarts") == "0"
    assert service.property("ActiveState") == "active"
    assert service.call("add", 1, 2) == 3
    listed = service.machine.run("/opt/workd/bin/workd", "dead", "list")
    assert "crashed" in listed
    assert "OOM" in listed


def test_a_clock_that_is_set_forward_and_back_runs_nothing_twice(service: Service) -> None:
    machine, daemon = service.machine, service.main_pid()
    for number, jump in enumerate(("+2 hours", "-3 hours", "+1 hour")):
        gate = f"gate-{number}"
        job = service.enqueue("hold", gate)
        machine.eventually(lambda: gate in service.ran())  # noqa: B023 - called at once
        machine.run("date", "--set", jump)
        set_at = lease(service)
        machine.eventually(lambda: lease(service) != set_at)  # noqa: B023 - and so renewed by the new clock
        machine.write(f"/var/lib/workd/{gate}", "")
        outcome = service.outcome(job)
        assert (outcome["status"], outcome["deliveries"]) == ("succeeded", 1)
        assert service.ran().count(gate) == 1
    assert service.main_pid() == daemon
    assert service.property("NRestarts") == "0"


def lease(service: Service) -> str:
    """Return until when the daemon has its jobs, by the server's clock."""
    return service.machine.run("redis-cli", "hvals", "workd:{default}:leases").strip()
