"""A unit that starts, says how it is and runs jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.machines.service import Service


def test_systemctl_start_comes_back_when_jobs_run(service: Service) -> None:
    job = service.enqueue("add", 19, 23)
    service.start()
    assert service.property("ActiveState") == "active"
    assert service.machine.run("/opt/workd/bin/workd", "health").strip()  # exit code 0: ready
    assert service.outcome(job)["value"] == 42


def test_start_waits_for_a_redis_that_is_not_there_yet(service: Service) -> None:
    machine = service.machine
    machine.sh("systemctl stop redis-server")
    try:
        machine.run("systemctl", "start", "--no-block", service.unit)
        machine.eventually(lambda: "redis" in service.property("StatusText").lower())
        assert service.property("ActiveState") == "activating"
        daemon = service.main_pid()
    finally:
        machine.sh("systemctl start redis-server")
    machine.eventually(lambda: service.property("ActiveState") == "active")
    assert service.main_pid() == daemon  # nobody restarted it for that
    assert service.call("add", 1, 2) == 3


def test_systemctl_status_shows_how_the_daemon_is(service: Service) -> None:
    service.start()
    service.call("add", 1, 2)
    shown = service.machine.run("systemctl", "status", "--no-pager", service.unit)
    status = re.search(r'Status: "(.*)"', shown)
    assert status, shown
    assert "2/2" in status[1]
    assert "consuming" in status[1]


def test_the_status_line_says_when_redis_is_gone_and_when_it_is_back(service: Service) -> None:
    machine = service.machine
    service.start()
    machine.sh("systemctl stop redis-server")
    try:
        machine.eventually(lambda: "consuming" not in service.property("StatusText"))
    finally:
        machine.sh("systemctl start redis-server")
    machine.eventually(lambda: "consuming" in service.property("StatusText"))


def test_many_jobs_run_in_all_workers_as_an_unprivileged_user(service: Service) -> None:
    service.start()
    ids = service.enqueue_many("count", [(number,) for number in range(200)])
    assert service.values(ids) == list(range(200))
    assert sorted(map(int, service.ran())) == list(range(200))
    users = service.machine.run("ps", "--no-headers", "-o", "user", "--ppid", str(service.main_pid())).split()
    assert set(users) == {"workd"}


def test_a_restarted_redis_is_no_reason_to_restart_the_daemon(service: Service) -> None:
    service.start()
    daemon = service.main_pid()
    ids = service.enqueue_many("count", [(number,) for number in range(300)])
    service.machine.eventually(lambda: len(service.ran()) > 20)
    service.machine.sh("systemctl restart redis-server")
    assert service.values(ids) == list(range(300))
    assert service.main_pid() == daemon
    assert service.property("NRestarts") == "0"
