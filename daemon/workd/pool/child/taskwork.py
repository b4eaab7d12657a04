"""What a worker of the daemon runs: task messages. The factory is what the daemon's `LoadSpec` names.

Imported by the forkserver alone, so that every worker has all of it from birth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workd import log
from workd.pool import frames
from workd.pool.child.runner import RunnerJob, TaskRunner
from workd_tasks import registry

if TYPE_CHECKING:
    from collections.abc import Sequence


class TaskWork:
    """Turns a packet's body into a run of a task."""

    def __init__(self, runner: TaskRunner, daemon_id: str, log_level: str, log_format: log.LogFormat) -> None:
        """Keep what `start` needs in the worker."""
        self._runner = runner
        self._run = runner.run
        self._daemon_id = daemon_id
        self._log_level = log_level
        self._log_format = log_format

    def start(self, slot: int) -> None:
        """Have the worker's log lines say whose they are."""
        import os

        log.configure(self._log_level, self._log_format, daemon=self._daemon_id, worker_pid=os.getpid(), slot=slot)

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one task message."""
        return self._run(RunnerJob(*frames.decode_job(body)))


def make(
    modules: Sequence[str], daemon_id: str, max_result_bytes: int, log_level: str, log_format: log.LogFormat
) -> tuple[TaskWork, dict[str, dict[str, Any]]]:
    """Check every task's signature, build the validators, and return the runner and the catalogue."""
    registry.load(modules)
    runner = TaskRunner(daemon_id, max_result_bytes)
    return TaskWork(runner, daemon_id, log_level, log_format), registry.catalogue()
