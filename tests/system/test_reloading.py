"""New code under load: systemctl reload rolls the workers, and no job notices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from support.machines.service import CONFIG

if TYPE_CHECKING:
    from support.machines.service import Service

JOBS = 600
SETTINGS = "/etc/workd/workd.toml"
NEW_CODE = {'VERSION = "first"': 'VERSION = "second"'}


def test_systemctl_reload_brings_new_code_under_load_and_loses_nothing(service: Service) -> None:
    service.start()
    daemon = service.main_pid()
    assert service.call("version") == "first"
    ids = service.enqueue_many("count", [(number,) for number in range(JOBS)])
    service.machine.eventually(lambda: len(service.ran()) > 20)
    service.write_tasks(NEW_CODE)
    service.machine.run("systemctl", "reload", service.unit)
    assert service.call("version") == "second"  # systemctl came back when it was done
    assert service.values(ids) == list(range(JOBS))
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))  # each once: none was cut short
    assert service.main_pid() == daemon
    assert service.property("ActiveState") == "active"
    assert service.property("NRestarts") == "0"


def test_reloads_that_come_quickly_one_after_the_other_all_come_back_with_the_last_code(service: Service) -> None:
    service.start()
    daemon = service.main_pid()
    ids = service.enqueue_many("count", [(number,) for number in range(JOBS)])
    service.machine.eventually(lambda: len(service.ran()) > 20)
    service.write_tasks(NEW_CODE)
    reload = f"systemctl reload {service.unit}"
    service.machine.sh(f"{reload} & first=$!; {reload}; kill -HUP {daemon}; kill -HUP {daemon}; {reload}; wait $first")
    assert service.call("version") == "second"
    assert service.values(ids) == list(range(JOBS))
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))
    assert service.main_pid() == daemon


def test_a_reload_of_settings_that_are_wrong_changes_nothing_and_says_so(service: Service) -> None:
    service.start()
    daemon = service.main_pid()
    for wrong in (CONFIG.replace("drain_s = 20", 'drain_s = "long"'), "no TOML", None):
        if wrong is None:
            service.machine.run("rm", SETTINGS)
        else:
            service.machine.write(SETTINGS, wrong)
        assert service.machine.tried("systemctl", "reload", service.unit).code != 0
        assert "the reload failed" in service.property("StatusText")
        assert service.call("add", 1, 2) == 3
    service.machine.write(SETTINGS, CONFIG.replace("workers = 2", "workers = 3"))
    service.machine.run("systemctl", "reload", service.unit)
    service.machine.eventually(lambda: "3/3 workers" in service.property("StatusText"))
    assert "failed" not in service.property("StatusText")
    assert service.main_pid() == daemon


def test_a_reload_of_code_that_does_not_import_changes_nothing_and_says_so(service: Service) -> None:
    service.start()
    daemon = service.main_pid()
    service.write_tasks(NEW_CODE | {"import logging": "import a_module_that_nobody_has"})
    assert service.machine.tried("systemctl", "reload", service.unit).code != 0
    service.machine.eventually(lambda: "a_module_that_nobody_has" in service.machine.log(service.unit))
    assert service.call("version") == "first"
    assert service.main_pid() == daemon
    assert service.property("ActiveState") == "active"
    service.write_tasks(NEW_CODE)
    service.machine.run("systemctl", "reload", service.unit)
    assert service.call("version") == "second"
