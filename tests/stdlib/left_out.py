"""Which of CPython's Pool cases are not run against `workd.Pool`, and why: all of them, there is no other place.

An entry that fits no case of the interpreter's test package fails a test, and so does a case that skips itself and
is not named here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase

METHODS = ("forkserver", "spawn", "fork")
"""The start methods under test."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Cases, by the pattern of their `Class.case`, with the reason; perhaps with some start methods alone."""

    pattern: str
    why: str
    methods: tuple[str, ...] = METHODS
    since: tuple[int, int] = (3, 11)  # the first Python that has these cases

    @property
    def exists(self) -> bool:
        """Whether this interpreter's test package should have such cases."""
        return sys.version_info[:2] >= self.since

    def __str__(self) -> str:
        """Name the cases, as a test's id."""
        return self.pattern if self.methods == METHODS else f"{self.pattern}-{'-'.join(self.methods)}"


_NOT_OF_A_MANAGER = "CPython's own suite skips it for the pool of a manager (whose other cases are run)"

LEFT_OUT = (
    LeftOut("WithThreadsTestPool.*", "multiprocessing.dummy's pool of threads: workd.Pool has processes alone"),
    LeftOut("WithManagerTestPool.test_enter", _NOT_OF_A_MANAGER),
    LeftOut("WithManagerTestPool.test_imap_handle_iterable_exception", _NOT_OF_A_MANAGER),
    LeftOut("WithManagerTestPool.test_imap_unordered_handle_iterable_exception", _NOT_OF_A_MANAGER),
    LeftOut("WithManagerTestPool.test_map_handle_iterable_exception", _NOT_OF_A_MANAGER),
    LeftOut("WithManagerTestPool.test_resource_warning", _NOT_OF_A_MANAGER),
    LeftOut(
        "TestPoolNotLeakOnFailure.test_release_unused_processes",
        "has a mocked context make pretended processes, and workd.Pool asks no context for processes; "
        "test_a_pool_that_cannot_start_all_its_workers_leaves_none_behind asks for the same with real ones",
    ),
    LeftOut(
        "MiscTestCase.test_large_pool",
        "200 interpreters that start at the same time fill 6 GB of memory, whoever's pool it is",
        methods=("spawn",),
        since=(3, 13),
    ),
)

OTHER_FILES = {
    "test_venv.py": "makes an environment in which workd is not installed, to see that multiprocessing works there",
    "test_logging.py": "is about logging in a Pool's worker, and needs a debug build of Python",
}
"""Files of the test package that name `multiprocessing.Pool` as well, and why no case of theirs is run."""


def reason_to_leave_out(case: str, method: str) -> LeftOut | None:
    """Return the entry that keeps a case from being run by a start method."""
    return next((entry for entry in LEFT_OUT if method in entry.methods and fnmatchcase(case, entry.pattern)), None)
