"""Has CPython's cases run, each time in an interpreter of its own, and says what is wrong with the outcome.

Used by the tests; `runner.py` is the other side. Must not import the test package, which is not always there, and
changes the process that imports it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stdlib.shadow import make_interpreter
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable

_MARK = "WORKD_TEST_RUN"  # in the environment of everything that a run starts
_ENDING_S = 5.0  # orphans of workd's are gone after 2; CPython's resource trackers take their time
_RUNNER = "-m", "stdlib.runner"
_PRINTED = "an exception was printed that no case looked at: see the output"

INSTALL_IT = (
    "CPython's own Pool cases are not run: this interpreter has no test._test_multiprocessing "
    "(Debian's is in libpython{}.{}-testsuite)".format(*sys.version_info)
)


@dataclass(frozen=True, slots=True)
class Case:
    """One of CPython's: `Class.case`, what unittest loads it by, and the start method if it is for one alone."""

    name: str
    loadable: str
    start_method: str | None

    def is_for(self, method: str) -> bool:
        """Say whether the case is one of that start method's."""
        return self.start_method in {None, method}


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run."""

    pool: str
    outcomes: dict[str, str]  # by what unittest calls a case or a class' preparation; empty is good
    left_behind: list[str]
    output: str

    def failed(self, cases: Iterable[Case]) -> list[str]:
        """Return the names of the cases that did not pass."""
        return [case.name for case in cases if self.outcomes.get(case.loadable, "never run")]

    def troubles(self, cases: Iterable[Case]) -> list[str]:
        """Say all that is wrong, for people."""
        never_run = [f"{case.name} was never run" for case in cases if case.loadable not in self.outcomes]
        failed = [f"{name}: {why}" for name, why in self.outcomes.items() if why]
        silent = [_PRINTED] if "Traceback (most recent" in self.output else []
        return [*never_run, *failed, *self.left_behind, *silent]


def is_installed() -> bool:
    """Say whether this interpreter has its test package."""
    try:
        return importlib.util.find_spec("test._test_multiprocessing") is not None
    except ModuleNotFoundError:
        return False


@cache
def catalogue() -> tuple[Case, ...]:
    """Return every case that uses a pool, as `catalogue.py` finds them."""
    command = [sys.executable, *_RUNNER, "list"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(os.path.isdir, sys.path))}
    listed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return tuple(Case(*fields) for fields in json.loads(listed.stdout))


def run_cases(cases: Iterable[Case], pool: str, method: str, folder: Path, ending_s: float = _ENDING_S) -> Report:
    """Run cases with one of the pools of `swap.py`; `folder` is an empty one.

    What runs on for more than `ending_s` after the end is killed and reported.
    """
    python = make_interpreter(folder / "interpreter", pool, method)
    report, output, work = folder / "report.json", folder / "output", folder / "work"
    work.mkdir()
    with output.open("w") as out:
        code = subprocess.run(
            [python, "-W", "error::ResourceWarning", *_RUNNER, "run", report, *(case.loadable for case in cases)],
            cwd=work,
            env={**os.environ, _MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
        ).returncode
    orphans = _orphans_of(folder, ending_s)
    assert code == 0, f"the run ended with {code}\n{output.read_text()}"
    written = json.loads(report.read_text())
    left_behind = written["left_behind"] + [f"left running: {orphan}" for orphan in orphans]
    return Report(written["pool"], written["outcomes"], left_behind, output.read_text())


def _orphans_of(folder: Path, ending_s: float) -> list[str]:
    """Return the command lines of what still runs of a run some time after its end; none of it may go on."""
    with suppress(AssertionError):
        eventually(lambda: not _marked(folder), ending_s)
    left = _marked(folder)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(left.values())


def _marked(folder: Path) -> dict[int, str]:
    mark = f"{_MARK}={folder}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found
