import sys
from types import ModuleType

import pytest

from workd import activation, systemd
from workd.pool import interpreter


def test_no_process_that_we_start_may_speak_to_the_service_manager() -> None:
    assert (*systemd.VARIABLES, *activation.VARIABLES) == interpreter.SERVICE_VARIABLES
    assert set(interpreter.SERVICE_VARIABLES) < interpreter.DAEMON_VARIABLES


def test_a_module_that_another_thread_is_only_just_importing_names_no_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "multiprocessing.spawn", ModuleType("multiprocessing.spawn"))
    assert interpreter.command()[0] == sys.executable
