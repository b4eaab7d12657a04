"""Runs cases of CPython's in an interpreter of `shadow.py` and writes down what became of each.

    python -m stdlib.runner list                      every case that uses a pool, as JSON
    python -m stdlib.runner run REPORT CASE…          run cases and write a report, as JSON

Started by `running.py`, which judges; this knows nothing of what should come out. The main module of all that the
cases start, so workers import it.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import threading
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stdlib import swap

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 200  # for all cases of one run, which take some 10 s; then it prints every stack, and fails


class Record(unittest.TextTestResult):
    """Notes for each case whether it passed, and if not, why."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start with nothing."""
        super().__init__(*args, **options)
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        """Note a case that passed."""
        super().addSuccess(test)
        self.passed.append(test.id())

    def outcomes(self) -> dict[str, str]:
        """Return what became of each case, and of the preparations of classes: empty, or why it did not pass."""
        skipped = [(test, f"it skipped itself: {why}") for test, why in self.skipped]
        failed = [(test.id(), why) for test, why in (*self.failures, *self.errors, *skipped)]
        return dict.fromkeys(self.passed, "") | dict(failed)


def run(names: list[str]) -> dict[str, Any]:
    """Run cases, given by what unittest can load them by; return their outcomes and what they left behind."""
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    left_behind: list[str] = []
    sys.unraisablehook = _noting(left_behind, "raised where nobody could catch it", sys.unraisablehook)
    threading.excepthook = _noting(left_behind, "raised in a thread", threading.excepthook)
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Record).run(suite)
    assert isinstance(result, Record)
    if sys.modules["test.support"].environment_altered:
        left_behind.append("threads or processes were left behind: see the warnings in the output")
    return {"pool": swap.installed, "outcomes": result.outcomes(), "left_behind": left_behind}


def _noting(notes: list[str], what: str, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def noting(event: Any) -> Any:
        notes.append(f"{what}: {event.exc_type.__name__}: {event.exc_value}")
        return hook(event)

    return noting


def main(verb: str, *arguments: str) -> None:
    """Do as the command line says."""
    if verb == "list":
        from stdlib.catalogue import cases

        json.dump(list(cases()), sys.stdout)
        return
    report, *names = arguments
    Path(report).write_text(json.dumps(run(names)))


if __name__ == "__main__":
    main(*sys.argv[1:])
