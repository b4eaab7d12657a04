import logging
import sys
from types import ModuleType

import pytest
import structlog

from workd.pool.logger import log


@pytest.fixture(autouse=True)
def _unconfigured() -> None:
    structlog.reset_defaults()


def test_in_a_program_that_has_not_configured_structlog_lines_go_to_the_standard_librarys_logging(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("no")
    log.warning("an idle worker died", worker_pid=7, how="badly")
    log.error("the pool is broken", exc_info=error)
    warning, broken = caplog.records
    assert (warning.name, warning.levelno) == ("workd.pool", logging.WARNING)
    assert warning.getMessage() == "an idle worker died worker_pid=7 how='badly'"
    assert broken.exc_info is not None
    assert broken.exc_info[1] is error
    assert capsys.readouterr().out == ""  # which is the program's own


def test_where_structlog_is_configured_its_configuration_holds() -> None:
    with structlog.testing.capture_logs() as lines:
        log.warning("an idle worker died", worker_pid=7)
    assert lines == [{"event": "an idle worker died", "worker_pid": 7, "log_level": "warning"}]


def test_a_structlog_that_another_thread_is_only_just_importing_is_not_configured(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "structlog", ModuleType("structlog"))
    log.warning("an idle worker died", worker_pid=7)
    assert [record.getMessage() for record in caplog.records] == ["an idle worker died worker_pid=7"]
