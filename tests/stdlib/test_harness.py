"""What runs CPython's cases would see a Pool that is not as good as CPython's, and takes CPython's own for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stdlib.left_out import reason_to_leave_out
from stdlib.running import Case, run_cases

if TYPE_CHECKING:
    from pathlib import Path


def chosen(cases: tuple[Case, ...], method: str, *starts: str) -> list[Case]:
    mine = (case for case in cases if case.is_for(method) and case.name.startswith(starts))
    return [case for case in mine if reason_to_leave_out(case.name, method) is None]


@pytest.mark.timeout(240)
def test_cpythons_pool_passes(cases: tuple[Case, ...], tmp_path: Path) -> None:
    some = chosen(cases, "forkserver", "WithProcesses", "Test")
    report = run_cases(some, "stdlib", "forkserver", tmp_path)
    assert report.pool == "stdlib"
    assert not (troubles := report.troubles(some)), "\n\n".join([*troubles, report.output])


@pytest.mark.timeout(240)
def test_without_a_pool_no_case_passes_so_each_makes_the_one_under_test(
    cases: tuple[Case, ...], tmp_path: Path
) -> None:
    every = chosen(cases, "fork", "")
    report = run_cases(every, "unmakeable", "fork", tmp_path)
    passed = {case.name for case in every} - set(report.failed(every))
    # It starts a process and does not look what became of it. The harness does.
    assert passed == {"TestStdinBadfiledescriptor.test_pool_in_process"}
    assert any("an exception was printed" in trouble for trouble in report.troubles(every))


def test_a_wrong_value_fails_the_case_that_looks_at_it(cases: tuple[Case, ...], tmp_path: Path) -> None:
    some = chosen(cases, "fork", "WithProcessesTestPool.test_map", "WithProcessesTestPool.test_starmap")
    report = run_cases(some, "wrong", "fork", tmp_path)
    assert report.failed(some) == ["WithProcessesTestPool.test_map"]


def test_what_a_pool_leaves_behind_is_seen(cases: tuple[Case, ...], tmp_path: Path) -> None:
    some = chosen(cases, "fork", "WithProcessesTestPoolWorkerErrors.test_async_error_callback")
    report = run_cases(some, "untidy", "fork", tmp_path, ending_s=0.2)
    assert report.failed(some) == []
    troubles = "\n".join(report.troubles(some))
    assert "raised in a thread: ValueError: invalid literal" in troubles
    assert "threads or processes were left behind" in troubles
    assert "left running: sleep" in troubles


def test_a_case_that_is_not_there_is_seen(cases: tuple[Case, ...], tmp_path: Path) -> None:
    gone = Case("TestInitializers.test_gone", "stdlib.installed.TestInitializers.test_gone", None)
    troubles = run_cases([gone], "stdlib", "fork", tmp_path).troubles([gone])
    assert troubles[0] == "TestInitializers.test_gone was never run"


def test_a_case_that_skips_itself_is_seen(cases: tuple[Case, ...], tmp_path: Path) -> None:
    skipping = [case for case in cases if case.name == "WithManagerTestPool.test_enter"]
    troubles = run_cases(skipping, "stdlib", "fork", tmp_path).troubles(skipping)
    assert len(troubles) == 1
    assert "it skipped itself: test not applicable to manager" in troubles[0]
