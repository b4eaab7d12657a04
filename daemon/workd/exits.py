"""What an exit code of `workd` says: every command ends with one of these and nothing else.

Scripts and `RestartPreventExitStatus=` of a unit rely on the numbers, so they never change their meaning.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a `workd` process ended."""

    OK = 0
    FAILURE = 1  # it ran, and the answer is no: not healthy, the job is dead, no result in time
    USAGE = 2  # the command line is wrong
    CONFIG = 3  # a setting is wrong
    TASKS = 4  # a task module does not import, or defines a task that cannot be
    REDIS = 5  # Redis cannot be reached or holds somebody else's keys, and was required
    BOOT = 6  # the workers do not come up
    BUG = 70  # a mistake of workd's; stderr has the traceback
    INTERRUPTED = 130  # Ctrl-C in a command that has nothing to drain
