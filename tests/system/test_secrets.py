"""The password of Redis as a systemd credential: the daemon has it, and nobody else finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.machines.service import CONFIG, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct-horse-battery-staple"
CREDENTIAL = "/etc/credstore/workd.redis_url"


@pytest.fixture
def guarded(service: Service) -> Iterator[Service]:
    """A Redis that wants a password, which the daemon gets as a credential and the settings file doesn't have."""
    machine = service.machine
    machine.write(CREDENTIAL, f"redis://:{PASSWORD}@localhost:6379/0", mode=0o600)
    machine.write("/etc/workd/workd.toml", "\n".join(CONFIG.splitlines()[1:]))
    machine.run("redis-cli", "config", "set", "requirepass", PASSWORD)
    try:
        yield Service(machine, url=f"redis://:{PASSWORD}@localhost:6379/0")
    finally:
        machine.sh(f"REDISCLI_AUTH={PASSWORD} redis-cli config set requirepass ''; rm -f {CREDENTIAL}")


def test_the_password_comes_as_a_credential_and_is_in_no_log_environment_or_list_of_processes(guarded: Service) -> None:
    machine = guarded.machine
    guarded.start()
    seen_by_a_task = guarded.call("environment")
    assert guarded.call("add", 1, 2) == 3
    machine.sh("systemctl restart redis-server")  # broken and refused connections are logged, too
    machine.run("systemctl", "reload", guarded.unit)
    machine.run("redis-cli", "config", "set", "requirepass", PASSWORD)
    assert guarded.call("add", 1, 2) == 3

    processes = [str(pid) for pid in machine.run("pgrep", "--uid", "workd").split()]
    assert processes
    environments = machine.sh(f"cd /proc; cat {' '.join(f'{pid}/environ' for pid in processes)}")
    assert "PATH=/opt/workd/bin" in environments
    shown = machine.run("/opt/workd/bin/workd", "status", "--redis-url", guarded.url)
    for where, text in {
        "ps": machine.run("ps", "-e", "-o", "args"),
        "the environment of a process": environments,
        "the environment that tasks see": str(seen_by_a_task),
        "the journal": str(machine.journal()),
        "systemctl status": machine.run("systemctl", "status", "--no-pager", guarded.unit),
        "systemctl show": machine.run("systemctl", "show", guarded.unit),
        "workd status": shown,
    }.items():
        assert PASSWORD not in text, f"the password is in {where}"


def test_a_wrong_password_is_said_without_showing_it_and_waited_for_to_be_right(guarded: Service) -> None:
    machine = guarded.machine
    machine.write(CREDENTIAL, "redis://:a-wrong-password@localhost:6379/0", mode=0o600)
    machine.run("systemctl", "start", "--no-block", guarded.unit)
    machine.eventually(lambda: "WRONGPASS" in guarded.property("StatusText"))
    assert "WRONGPASS" in machine.log(guarded.unit)
    assert guarded.property("ActiveState") == "activating"
    daemon = guarded.main_pid()
    machine.sh(f"REDISCLI_AUTH={PASSWORD} redis-cli config set requirepass a-wrong-password")
    machine.eventually(lambda: guarded.property("ActiveState") == "active")
    assert guarded.main_pid() == daemon
    assert guarded.property("NRestarts") == "0"
    machine.sh(f"REDISCLI_AUTH=a-wrong-password redis-cli config set requirepass {PASSWORD}")
    guarded.stop()
    assert "a-wrong-password" not in str(machine.journal())


def test_a_credential_that_is_no_address_ends_it_for_good_and_is_not_shown(guarded: Service) -> None:
    machine = guarded.machine
    machine.write(CREDENTIAL, "a-secret-in-the-wrong-file", mode=0o600)
    assert machine.tried("systemctl", "start", guarded.unit).code != 0
    assert guarded.property("ActiveState") == "failed"
    assert guarded.property("ExecMainStatus") == "3"  # a setting is wrong
    assert guarded.property("NRestarts") == "0"
    assert "from credential redis_url" in machine.log(guarded.unit)
    assert "a-secret-in-the-wrong-file" not in str(machine.journal())
