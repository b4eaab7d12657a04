"""Writing tasks: `@task` on a plain typed function, `context()` inside it, and a few exceptions.

    from workd_tasks import task

    @task(timeout=30, max_retries=5)
    def square(x: int) -> int:
        return x * x

This package knows no Redis and no processes; importing it loads neither, nor pydantic.
"""

from workd_tasks.context import Context, context
from workd_tasks.define import Task, task
from workd_tasks.errors import (
    HookError,
    NoContextError,
    Reject,
    Retry,
    SoftTimeout,
    TaskDefinitionError,
    TaskError,
)
from workd_tasks.hooks import after_task, around_task, before_task, on_failure, on_worker_start, on_worker_stop
from workd_tasks.options import TaskOptions

__all__ = [
    "Context",
    "HookError",
    "NoContextError",
    "Reject",
    "Retry",
    "SoftTimeout",
    "Task",
    "TaskDefinitionError",
    "TaskError",
    "TaskOptions",
    "after_task",
    "around_task",
    "before_task",
    "context",
    "on_failure",
    "on_worker_start",
    "on_worker_stop",
    "task",
]
