"""A unit that is stopped, killed or stands still while jobs run."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from support.machines.service import CONFIG, WAIT_S

if TYPE_CHECKING:
    from support.machines.service import Service

JOBS = 400
SOME = 20
LONG_S = 0.2  # a job, of which the two workers then have enough for 40 s: longer than a busy machine takes for a stop
SETTINGS = "/etc/workd/workd.toml"
MANY_WORKERS = CONFIG.replace("workers = 2", "workers = 20")  # for what is left
WATCHED_S = 10  # a machine that is very busy lets a daemon wait for its turn, but not for so long
WATCHED = f"[Service]\nWatchdogSec={WATCHED_S}\n"


def under_load(service: Service, pause_s: float = 0.02) -> list[str]:
    """Start the daemon with more jobs than it can finish before something happens; return their ids."""
    service.start()
    ids = service.enqueue_many("count", [(number, pause_s) for number in range(JOBS)])
    service.machine.eventually(lambda: len(service.ran()) > SOME)
    return ids


def test_systemctl_stop_under_load_loses_nothing_and_ends_in_time(service: Service) -> None:
    ids = under_load(service, LONG_S)
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 45  # the unit's TimeoutStopSec: nothing had to be killed
    assert service.property("Result") == "success"
    assert service.property("ExecMainStatus") == "0"
    at_the_stop = service.ran()
    assert len(at_the_stop) < JOBS
    assert set(Counter(at_the_stop).values()) == {1}
    service.machine.write(SETTINGS, MANY_WORKERS)
    service.start()
    assert service.values(ids) == list(range(JOBS))
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))  # each once: what ran was waited for


def told_to_stop_with_a_job(service: Service) -> str:
    """Tell a daemon to stop while a job runs that a gate holds, and return the job."""
    service.start()
    job = service.enqueue("hold", "gate")
    service.machine.eventually(lambda: service.ran() == ["gate"])
    service.machine.run("systemctl", "stop", "--no-block", service.unit)
    service.machine.eventually(lambda: service.property("ActiveState") == "deactivating")
    return job


def assert_it_waits_for(service: Service, job: str) -> None:
    """Open the gate and see that the stop has waited for this job."""
    service.machine.write("/var/lib/workd/gate", "")
    service.machine.eventually(lambda: service.property("ActiveState") == "inactive")
    assert service.property("Result") == "success"
    assert service.outcome(job)["status"] == "succeeded"
    assert service.ran() == ["gate"]


def test_a_stop_waits_for_the_job_that_runs(service: Service) -> None:
    job = told_to_stop_with_a_job(service)
    assert "drain" in service.property("StatusText")
    assert_it_waits_for(service, job)


def stops_for_s(service: Service) -> float:
    """Return for how long the unit has been stopping, by the machine's own clock."""
    since_us = int(service.property("StateChangeTimestampMonotonic"))
    return float(service.machine.run("cat", "/proc/uptime").split()[0]) - since_us / 1e6


def test_a_drain_may_take_longer_than_the_units_stop_timeout(service: Service) -> None:
    service.drop_in("[Service]\nTimeoutStopSec=5\n")
    service.machine.write(SETTINGS, CONFIG.replace("drain_s = 20", "drain_s = 200"))
    job = told_to_stop_with_a_job(service)
    service.machine.eventually(lambda: stops_for_s(service) > 7)  # it would have been killed by now
    assert_it_waits_for(service, job)


def test_a_drain_that_is_over_before_its_jobs_hands_them_back(service: Service) -> None:
    service.drop_in("[Service]\nTimeoutStopSec=5\n")
    service.machine.write(SETTINGS, CONFIG.replace("drain_s = 20", "drain_s = 7"))
    service.start()
    job = service.enqueue("hold", "gate")
    service.machine.eventually(lambda: service.ran() == ["gate"])
    service.stop()
    assert service.property("Result") == "success"  # ended by itself, though later than the unit says
    assert service.property("ExecMainStatus") == "0"
    assert "killed and handed back" in service.machine.log(service.unit)
    service.machine.write("/var/lib/workd/gate", "")
    service.start()
    outcome = service.outcome(job)
    assert (outcome["status"], outcome["attempts"], outcome["deliveries"]) == ("succeeded", 1, 2)
    assert service.ran() == ["gate", "gate"]


def test_restarts_in_a_row_under_load_lose_nothing_and_run_nothing_twice(service: Service) -> None:
    ids = under_load(service, LONG_S)
    for _ in range(3):
        service.machine.run("systemctl", "restart", service.unit, timeout_s=WAIT_S)
    assert len(service.ran()) < JOBS
    service.machine.write(SETTINGS, MANY_WORKERS)
    service.machine.run("systemctl", "reload", service.unit)
    assert service.values(ids) == list(range(JOBS))
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))
    assert service.property("NRestarts") == "0"


def test_a_stop_leaves_no_process_behind(service: Service) -> None:
    under_load(service)
    service.stop()
    assert service.machine.tried("pgrep", "--uid", "workd").out == ""


def test_a_killed_daemon_is_started_again_and_the_jobs_end(service: Service) -> None:
    ids = under_load(service)
    before = service.main_pid()
    service.machine.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", service.unit)
    service.machine.eventually(lambda: service.main_pid() not in {0, before})
    assert service.values(ids) == list(range(JOBS))
    assert service.property("NRestarts") == "1"
    assert set(map(int, service.ran())) == set(range(JOBS))


def test_a_kill_of_the_whole_unit_is_survived_too(service: Service) -> None:
    ids = under_load(service)
    before = service.main_pid()
    service.machine.tried("systemctl", "kill", "--signal=KILL", service.unit)  # fails where some are dead already
    service.machine.eventually(lambda: service.main_pid() not in {0, before})
    assert service.values(ids) == list(range(JOBS))
    service.machine.eventually(lambda: service.property("ActiveState") == "active")
    assert service.property("NRestarts") == "1"


def test_a_daemon_that_stands_still_is_ended_by_the_watchdog_and_started_again(service: Service) -> None:
    service.drop_in(WATCHED)
    ids = under_load(service)
    before = service.main_pid()
    service.machine.run("kill", "-STOP", str(before))
    service.machine.eventually(lambda: service.main_pid() not in {0, before})
    assert "Watchdog timeout" in service.machine.log(service.unit)
    assert service.values(ids) == list(range(JOBS))
    assert service.property("NRestarts") == "1"


def test_an_idle_daemon_and_one_that_waits_for_redis_feed_the_watchdog(service: Service) -> None:
    service.drop_in(WATCHED)
    service.start()
    machine, daemon = service.machine, service.main_pid()

    def fed_at() -> int:
        return int(service.property("WatchdogTimestampMonotonic"))

    def fed_for_seconds(seconds: int) -> bool:
        """Say whether a sign of life came so long after the first: without, the watchdog had ended it by then."""
        return fed_at() - first > seconds * 1_000_000

    first = fed_at()
    machine.eventually(lambda: fed_for_seconds(WATCHED_S + 2))
    machine.sh("systemctl stop redis-server")
    try:
        first = fed_at()
        machine.eventually(lambda: fed_for_seconds(WATCHED_S + 2))
    finally:
        machine.sh("systemctl start redis-server")
    assert service.main_pid() == daemon
    assert service.property("NRestarts") == "0"


def test_what_cannot_get_better_is_not_tried_again(service: Service) -> None:
    service.write_tasks({"import logging": "import a_module_that_nobody_has"})
    assert service.machine.tried("systemctl", "start", service.unit).code != 0
    service.machine.eventually(lambda: service.property("ActiveState") == "failed")
    assert service.property("NRestarts") == "0"
    assert "a_module_that_nobody_has" in service.machine.log(service.unit)
