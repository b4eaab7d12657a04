"""What a task says is found in the journal by its job's id."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.machines.service import Service


def test_the_journal_finds_what_a_job_said_by_its_id_and_its_task(service: Service) -> None:
    service.start()
    one, other = service.enqueue("say", "apples"), service.enqueue("say", "pears")
    service.values([one, other])
    machine = service.machine

    entries = machine.journal(f"JOB_ID={one}")
    messages = " ".join(str(entry["MESSAGE"]) for entry in entries)
    assert "logged: apples" in messages
    assert "printed: apples" in messages
    assert "pears" not in messages
    assert {entry["TASK"] for entry in entries} == {"say"}
    assert {entry["_SYSTEMD_UNIT"] for entry in entries} == {"workd.service"}
    [logged] = [entry for entry in entries if "logged: apples" in str(entry["MESSAGE"])]
    assert logged["PRIORITY"] == "4"  # a warning
    assert "pears" in " ".join(str(entry["MESSAGE"]) for entry in machine.journal("TASK=say"))


def test_a_dead_letter_is_a_line_of_the_journal_with_the_job_in_fields(service: Service) -> None:
    service.start()
    job = service.enqueue("add", "not", "numbers")
    assert service.outcome(job)["status"] == "dead"
    [entry] = [entry for entry in service.machine.journal(f"JOB_ID={job}") if "dead letter" in str(entry["MESSAGE"])]
    assert entry["TASK"] == "add"
    assert entry["QUEUE"] == "default"


def test_a_journal_that_is_stopped_holds_up_no_job(service: Service) -> None:
    service.start()
    machine, daemon = service.machine, service.main_pid()
    sockets = "systemd-journald.socket systemd-journald-dev-log.socket"
    machine.sh(f"systemctl stop {sockets} systemd-journald")
    try:
        assert machine.active("systemd-journald") == "inactive"
        service.values(service.enqueue_many("say", [(f"unheard {number}",) for number in range(100)]))
        assert service.main_pid() == daemon
    finally:
        machine.sh(f"systemctl start {sockets} systemd-journald")
    later = service.enqueue("say", "heard again")
    service.outcome(later)
    machine.eventually(lambda: "logged: heard again" in str(machine.journal(f"JOB_ID={later}")))
    assert service.main_pid() == daemon


def test_a_restart_of_the_journal_stops_no_job_and_what_is_said_later_arrives(service: Service) -> None:
    service.start()
    machine, daemon = service.machine, service.main_pid()
    ids = service.enqueue_many("say", [(f"during {number}",) for number in range(100)])
    machine.run("systemctl", "restart", "systemd-journald")
    service.values(ids)
    later = service.enqueue("say", "later")
    service.outcome(later)
    assert "logged: later" in " ".join(str(entry["MESSAGE"]) for entry in machine.journal(f"JOB_ID={later}"))
    assert service.main_pid() == daemon
