"""What systemctl reload runs is over when the reload is, and fails when that does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.changing_code import ENVIRONMENT, MODULE, ChangingCode
from support.daemons import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

RELOAD_S = 60.0


@pytest.fixture
def code(tmp_path: Path) -> ChangingCode:
    code = ChangingCode(tmp_path)
    code.write("one")
    return code


@pytest.fixture
def daemon(start_daemon: StartDaemon, code: ChangingCode, tmp_path: Path) -> DaemonProcess:
    environment = ENVIRONMENT | {"RUNTIME_DIRECTORY": str(tmp_path)}
    return start_daemon(ready=True, modules=(MODULE,), environment=environment, http=f"unix:{tmp_path}/http.sock")


def systemctl_reload(daemon: DaemonProcess, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the unit's ExecReload=."""
    return subprocess.run(
        [sys.executable, "-m", "workd.cli.hangup", str(daemon.pid)],
        env=clean_environment() | {"RUNTIME_DIRECTORY": str(folder)},
        capture_output=True,
        text=True,
        timeout=RELOAD_S,
        check=False,
    )


def version_of(queue: FaultQueue) -> object:
    return queue.succeeded(queue.push("version"))["value"]


def test_new_code_runs_as_soon_as_it_is_over(
    queue: FaultQueue, daemon: DaemonProcess, code: ChangingCode, tmp_path: Path
) -> None:
    for version in ("two", "three"):
        code.write(version)
        done = systemctl_reload(daemon, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert version_of(queue) == version


def test_code_that_does_not_import_is_a_failed_reload_and_the_next_may_be_well(
    queue: FaultQueue, daemon: DaemonProcess, code: ChangingCode, tmp_path: Path
) -> None:
    code.write("two", more="import a_module_that_nobody_has")
    done = systemctl_reload(daemon, tmp_path)
    assert done.returncode == 1
    assert "a_module_that_nobody_has" in done.stderr
    assert version_of(queue) == "one"
    code.write("three")
    assert systemctl_reload(daemon, tmp_path).returncode == 0
    assert version_of(queue) == "three"
