"""What an exit code of `workd` says: every command ends with one of these and nothing else.

Scripts and `RestartPreventExitStatus=` of a unit rely on the numbers, so they never change their meaning.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """How a `workd` process ended; MEANINGS says what each is."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIG = 3
    TASKS = 4
    REDIS = 5
    BOOT = 6
    BUG = 70
    INTERRUPTED = 130
    CLOSED = 141


MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "all is well; of `workd run`: it was told to stop, and has drained",
    Exit.FAILURE: "it ran, and the answer is no: not healthy, the job did not succeed, no result in time",
    Exit.USAGE: "the command line is wrong",
    Exit.CONFIG: "a setting is wrong",
    Exit.TASKS: "a task module does not import, or defines a task that cannot be",
    Exit.REDIS: "Redis refuses, is away where it is required, or holds somebody else's keys",
    Exit.BOOT: "the workers do not come up",
    Exit.BUG: "a mistake of workd's; stderr has the traceback",
    Exit.INTERRUPTED: "Ctrl-C in a command that has nothing to drain",
    Exit.CLOSED: "who read the output has stopped reading, as `| head` does",
}
"""What the README, docs/commands.md and workd(1) say, in the order of the numbers."""
