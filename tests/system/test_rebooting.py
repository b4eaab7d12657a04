"""A machine that reboots while its queue is half full."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from support.machines.container import Container

if TYPE_CHECKING:
    from support.machines.service import Service

JOBS = 400


def test_after_a_reboot_with_a_queue_half_full_every_job_ends(service: Service) -> None:
    machine = service.machine
    assert isinstance(machine, Container)
    machine.run("systemctl", "enable", service.unit)
    service.start()
    assert machine.run("redis-cli", "config", "get", "appendonly").split() == ["appendonly", "yes"]
    ids = service.enqueue_many("count", [(number,) for number in range(JOBS)])
    machine.eventually(lambda: len(service.ran()) > 20)
    machine.reboot()
    machine.eventually(lambda: service.property("ActiveState") == "active")
    assert service.values(ids) == list(range(JOBS))
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))  # a reboot stops the unit: it drained
    machine.run("systemctl", "disable", service.unit)
