"""CPython's own Pool cases, from the interpreter's installed test package, with `workd.Pool` as the Pool."""

from __future__ import annotations

import re
import sysconfig
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from stdlib.left_out import LEFT_OUT, METHODS, OTHER_FILES, LeftOut, reason_to_leave_out
from stdlib.running import INSTALL_IT, Case, is_installed, run_cases

# Runs of about the same length; a case is in the first that fits.
GROUPS = {
    "pool": "WithProcesses*",
    "manager": "WithManager*",
    "scripts": "*CmdLineTest.*",
    "others": "*",
}

NAMES_A_POOL = re.compile(rb"multiprocessing(.|\n)*\bPool\(")
RUN_FILES = {"_test_multiprocessing.py", "test_multiprocessing_main_handling.py", "pool_in_threads.py"}


def group_of(case: Case) -> str:
    return next(group for group, pattern in GROUPS.items() if fnmatchcase(case.name, pattern))


def cases_to_run(cases: tuple[Case, ...], method: str, group: str) -> list[Case]:
    mine = (case for case in cases if case.is_for(method) and group_of(case) == group)
    return [case for case in mine if reason_to_leave_out(case.name, method) is None]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("group", GROUPS)
def test_every_case_passes(cases: tuple[Case, ...], group: str, method: str, tmp_path: Path) -> None:
    chosen = cases_to_run(cases, method, group)
    report = run_cases(chosen, "workd", method, tmp_path)
    assert report.pool == "workd"
    assert not (troubles := report.troubles(chosen)), "\n\n".join([*troubles, report.output])


@pytest.mark.parametrize("entry", LEFT_OUT, ids=str)
def test_left_out(cases: tuple[Case, ...], entry: LeftOut) -> None:
    fitting = [case for case in cases if fnmatchcase(case.name, entry.pattern)]
    assert bool(fitting) == entry.exists, f"the entry is for {len(fitting)} cases of this interpreter's test package"
    number = f"{len(fitting)} cases" if fitting else "not in this Python"
    methods = f" with {', '.join(entry.methods)}" if entry.methods != METHODS else ""
    pytest.skip(f"{entry.pattern}{methods} ({number}): {entry.why}")


@pytest.mark.parametrize(
    "name",
    [
        "WithProcessesTestPool.test_apply",
        "WithProcessesTestPoolWorkerErrors.test_unpickleable_result",
        "WithProcessesTestPoolWorkerLifetime.test_pool_worker_lifetime",
        "WithProcessesTestPoolWorkerLifetime.test_worker_finalization_via_atexit_handler_of_multiprocessing",  # a text
        "TestPoolNotLeakOnFailure.test_release_unused_processes",
        "TestInitializers.test_pool_initializer",
        "TestStdinBadfiledescriptor.test_pool_in_process",  # by a function that it hands over
        "TestSyncManagerTypes.test_pool",
        "SpawnCmdLineTest.test_basic_script",  # by the default of a helper's parameter
        "ForkCmdLineTest.test_package",  # by a constant of its class
        "ThreadedImportTests.test_multiprocessing_pool_circular_import",
    ],
)
def test_cases_are_found_by_what_their_code_refers_to(cases: tuple[Case, ...], name: str) -> None:
    assert name in {case.name for case in cases}


def test_cases_without_a_pool_are_not_run(cases: tuple[Case, ...]) -> None:
    classes = {case.name.partition(".")[0] for case in cases}
    assert not classes & {"WithProcessesTestQueue", "WithManagerTestContainers", "TestWait"}
    assert "TestStdinBadfiledescriptor.test_queue_in_process" not in {case.name for case in cases}


@pytest.mark.skipif(not is_installed(), reason=INSTALL_IT)
def test_no_other_file_of_the_test_package_has_to_do_with_a_pool_of_processes() -> None:
    package = Path(sysconfig.get_path("stdlib"), "test")
    texts = ((path.name, path.read_bytes()) for path in package.rglob("*.py"))
    unknown = {name for name, text in texts if NAMES_A_POOL.search(text)} - RUN_FILES - OTHER_FILES.keys()
    assert not unknown, "run their cases (MODULES of catalogue.py), or say in left_out.py why not"
