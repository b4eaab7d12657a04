"""`deploy/install.sh --uninstall` on a machine that works, and the installation after it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from support.machines.service import CONFIG, INSTALL, RELEASE

if TYPE_CHECKING:
    from support.machines.service import Service

JOBS: Final = 400
PAUSE_S: Final = 0.2  # 40 s of work for two workers: longer than a busy machine takes to come to the drain
INSTALL_TIMEOUT_S: Final = 400.0
UNITS: Final = "workd.service workd-health.socket workd@images.service"
# What is ours, or calls itself so, but for what people have written and where tests have the release.
LEFT: Final = "find / -xdev -path /root -prune -o -name '*workd*' -not -name '*networkd*' -print | sort"


def test_it_drains_removes_all_but_settings_tasks_and_jobs_and_comes_back_with_them(service: Service) -> None:
    machine = service.machine
    machine.write("/etc/workd/images.toml", "")
    machine.run("systemctl", "enable", *UNITS.split())
    service.start()
    ids = service.enqueue_many("count", [(number, PAUSE_S) for number in range(JOBS)])
    machine.eventually(lambda: len(service.ran()) > 20)
    try:
        machine.run("sh", f"{RELEASE}/deploy/install.sh", "--uninstall", timeout_s=INSTALL_TIMEOUT_S)
        assert machine.tried("pgrep", "--uid", "workd").out == ""
        assert machine.property("workd.service", "LoadState") == "not-found"
        assert machine.sh(LEFT).split() == ["/etc/workd", "/etc/workd/workd.toml", "/opt/workd", "/var/lib/workd"]
        assert machine.run("find", "/opt/workd", "-type", "f").split() == ["/opt/workd/tasks/shop.py"]
        assert machine.run("cat", "/etc/workd/workd.toml") == CONFIG
        assert not machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").strip()
        assert len(service.ran()) < JOBS
        done = machine.tried("sh", f"{RELEASE}/deploy/install.sh", "--uninstall")
        assert (done.code, "holds nothing that this script has installed" in done.err) == (1, True)
    finally:
        machine.sh(f"rm /etc/workd/images.toml; {INSTALL}", timeout_s=INSTALL_TIMEOUT_S)
    assert machine.tried("systemctl", "is-enabled", service.unit).out.strip() == "disabled"
    machine.write("/etc/workd/workd.toml", CONFIG.replace("workers = 2", "workers = 20"))
    service.start()
    assert service.values(ids) == list(range(JOBS))
    assert Counter(service.ran()) == Counter(map(str, range(JOBS)))  # it was a drain: each once
