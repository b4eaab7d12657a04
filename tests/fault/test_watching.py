"""`workd run --reload`: what is saved is what runs, and what is broken leaves the former code at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.changing_code import MODULE, ChangingCode

if TYPE_CHECKING:
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

PATIENCE_S = 60.0


@pytest.fixture
def code(tmp_path: Path) -> ChangingCode:
    code = ChangingCode(tmp_path)
    code.write("one")
    return code


def test_a_file_that_is_saved_is_loaded_and_a_broken_one_is_shown(
    queue: FaultQueue, start_daemon: StartDaemon, code: ChangingCode
) -> None:
    daemon = start_daemon(modules=(MODULE, "--reload"))
    daemon.wait_log("watching for changes", timeout_s=PATIENCE_S)
    running = queue.push("version", "gate")
    queue.run(running)
    code.write("two")  # of the same size, and perhaps in the same second
    daemon.wait_log("reloaded", timeout_s=PATIENCE_S)
    assert queue.succeeded(queue.push("version"))["value"] == "two"
    code.write_raw("def broken(:\n")
    failed = daemon.wait_log("the reload failed; everything goes on as before", timeout_s=PATIENCE_S)
    assert "SyntaxError" in failed["exception"]
    assert queue.succeeded(queue.push("version"))["value"] == "two"
    code.write("six")
    daemon.wait_log("reloaded", count=2, timeout_s=PATIENCE_S)
    assert queue.succeeded(queue.push("version"))["value"] == "six"
    queue.open_gate("gate")
    queue.succeeded(running, value="one", attempts=1, deliveries=1)


def test_a_module_beside_the_tasks_is_watched_too(
    queue: FaultQueue, start_daemon: StartDaemon, code: ChangingCode, tmp_path: Path
) -> None:
    helper = tmp_path / "beside.py"
    helper.write_text("NAME = 'one'\n")
    code.write("one", "from beside import NAME\n\n@task(result_ttl=600)\ndef name() -> str:\n    return NAME\n")
    daemon = start_daemon(modules=(MODULE, "--reload"))
    daemon.wait_log("watching for changes", timeout_s=PATIENCE_S)
    helper.write_text("NAME = 'two'\n")
    daemon.wait_log("reloaded", timeout_s=PATIENCE_S)
    assert queue.succeeded(queue.push("name"))["value"] == "two"
