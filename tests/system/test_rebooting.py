"""A machine that reboots while its queue is half full."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from support.machines.container import Container

if TYPE_CHECKING:
    from support.machines.service import Service

JOBS = 400
LATE = "/etc/systemd/system/late-redis.service"
# Redis is not started before the daemon has said that there is none.
LATE_REDIS = """
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'until systemctl show workd -p StatusText | grep -qi redis; do sleep 0.2; done'
ExecStart=touch /run/redis-may-start
ExecStart=systemctl start redis-server
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
"""
HELD_UP = "/etc/systemd/system/redis-server.service.d/late.conf"
NOT_YET = "[Unit]\nConditionPathExists=/run/redis-may-start\n"


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


def test_a_redis_that_comes_after_the_daemon_at_boot_is_waited_for(service: Service) -> None:
    machine = service.machine
    assert isinstance(machine, Container)
    machine.write(LATE, LATE_REDIS)
    machine.write(HELD_UP, NOT_YET)
    machine.run("systemctl", "enable", "late-redis", service.unit)
    try:
        ids = service.enqueue_many("count", [(number,) for number in range(20)])
        machine.reboot()
        assert service.property("ActiveState") == "active"  # all is up, so it is
        assert machine.property("late-redis", "Result") == "success"
        assert service.values(ids) == list(range(20))
        assert service.property("NRestarts") == "0"
    finally:
        machine.run("systemctl", "disable", "late-redis", service.unit)
        machine.sh(f"rm {LATE} {HELD_UP}; systemctl daemon-reload; systemctl start redis-server")
