"""What task authors raise, and what is raised at them. The daemon's own errors are in `workd.errors`.

TaskError
├── TaskDefinitionError   a `@task` that cannot be: raised while its module is imported or loaded
├── NoContextError        `context()` outside of a running task
├── HookError             a hook around a task failed, and with it the attempt
├── Retry                 raised by a task: not now, run me again
└── Reject                raised by a task: never, this message is to be looked at by a person
SoftTimeout               a BaseException: the time is up (see there)
"""

from __future__ import annotations

import sys


class TaskError(Exception):
    """The base of the exceptions that tasks and workd use with each other."""


class TaskDefinitionError(TaskError):
    """A task that cannot be registered; the message names it, what is wrong and where; `module` is its, if known."""

    def __init__(self, message: str, module: str = "") -> None:
        super().__init__(message)
        self.module = module


class NoContextError(TaskError):
    """`context()` was called outside of a running task."""

    def __init__(self) -> None:
        super().__init__(
            "context() works only while workd runs a task, and in the thread that it runs in; "
            "in a test, wrap the call in `with running(Context(...))` of workd_tasks.context",
        )

    def __reduce__(self) -> tuple[type[NoContextError], tuple[()]]:
        """Pickle without the message: the constructor takes none."""
        return type(self), ()


class HookError(TaskError):
    """A hook around a task failed; the message names it and says what it raised, which is the cause."""

    def __init__(self, hook: str, what: str) -> None:
        super().__init__(hook, what)
        self.hook = hook
        self.what = what

    def __str__(self) -> str:
        return f"the hook {self.hook} failed: {self.what}"


class Retry(TaskError):
    """End this attempt and run the job again: after `after_s` seconds, or by the task's own backoff.

    It is an attempt like any other failure: after `max_retries` of them the job is dead. Say why with
    `raise Retry(30) from error`.
    """

    def __init__(self, after_s: float | None = None) -> None:
        if after_s is not None and not 0 <= after_s <= sys.float_info.max:
            raise ValueError(f"Retry(after_s={after_s!r}): must be 0 or more seconds"[:200])
        super().__init__(after_s)
        self.after_s = None if after_s is None else float(after_s)  # also a Fraction, or one of numpy's

    def __str__(self) -> str:
        return "retry asked for" if self.after_s is None else f"retry asked for, after {self.after_s:g} s"


class Reject(TaskError):
    """End the job now, as a dead letter with reason `rejected`: running it again would be of no use.

    A reason that is no text, such as the exception that is the reason, is made one.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = str(reason)


class SoftTimeout(BaseException):
    """The task's time is up; raised inside it, so that it can clean up before it is killed.

    Not an `Exception`, since a task's `except Exception` is there for its own errors and must not swallow
    this.
    """
