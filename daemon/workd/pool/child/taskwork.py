"""What a worker of the daemon runs: task messages. The factory is what the daemon's `LoadSpec` names.

Imported by the forkserver alone, so that every worker has all of it from birth.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from workd import log
from workd.output import facts, printing
from workd.pool import frames
from workd.pool.child import notices
from workd.pool.child.runner import RunnerJob, TaskRunner, raised, unknown
from workd.tracing.lines import ids_of
from workd.tracing.names import has_provider
from workd.tracing.wanted import exporters
from workd_tasks import hooks, registry

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from workd.tracing.running import Tracing

NO_TRACES = "the environment asks for traces, and there will be none"


class TaskWork:
    """Turns a packet's body into a run of a task."""

    def __init__(self, runner: TaskRunner, tracing: Tracing | None = None) -> None:
        """Keep what runs a task, and what makes spans of that."""
        self._tracing = tracing
        self._runner = runner
        self._run = runner.run

    def start(self, slot: int) -> None:
        """Have the worker's log lines say whose they are, and run what is to run at the start of a worker."""
        log.bind(worker_pid=os.getpid(), slot=slot)
        trouble = self._tracing.begin(slot) if self._tracing is not None else ""
        if trouble:
            log.get_logger(__name__).warning(NO_TRACES, why=trouble)
        hooks.start_worker(_run_in_loop)
        if has_provider():
            from workd.tracing.running import join_in

            join_in()

    def stop(self) -> None:
        """Run what is to run at the end of a worker."""
        hooks.stop_worker(_run_in_loop)
        printing.end_all()
        log.flush(0)

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one task message."""
        return self._run(RunnerJob(*frames.decode_job(body)))

    async def run_async(self, key: int, body: memoryview, soft_timeout_s: float) -> tuple[int, bytes]:
        """Run one message of a task that is a coroutine function."""
        from workd.pool.child.coroutines import run_async  # loaded by `make` where there is such a task

        return await run_async(self._runner, key, RunnerJob(*frames.decode_job(body)), soft_timeout_s)

    def interrupt(self, key: int) -> bool:
        """Raise `SoftTimeout` in a coroutine that has a soft timeout; False for any other job."""
        from workd.pool.child.coroutines import interrupt

        return interrupt(key)

    def cut_off(self, body: memoryview, error: BaseException) -> tuple[int, bytes]:
        """Say how a run ended that was cancelled before it could begin."""
        job = RunnerJob(*frames.decode_job(body))
        task = registry.get(job.task)
        return raised(task, error) if task is not None else (frames.UNKNOWN_TASK, unknown(job.task))


def _run_in_loop(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a hook in the loop in which this worker's coroutine functions run."""
    from workd.pool.child.looping import own_loop  # loaded by `make` where there is such a hook

    own_loop().run_until_complete(coroutine)


def make(
    modules: Sequence[str],
    daemon_id: str,
    max_result_bytes: int,
    log_level: str,
    log_format: log.LogFormat,
    queues: Sequence[str] = (),
) -> tuple[TaskWork, dict[str, dict[str, Any]]]:
    """Check every task's signature, build the validators, and return the runner and the catalogue.

    `queues` are those of the daemon, in the order in which packets number them.
    """
    registry.load(modules)
    if hooks.any_async() or any(task.is_async for task in registry.all_tasks().values()):
        from workd.pool.child import coroutines, looping  # noqa: F401 - here, so that workers share it
    runner = TaskRunner(
        daemon_id, max_result_bytes, queues=queues, should_stop=notices.should_stop, progress=notices.report
    )
    log.configure(
        log_level, log_format, of_tasks=True, daemon=daemon_id
    )  # here, so that no worker has to: that costs each 0.5 MB
    if ids_of not in facts.trace_ids:
        facts.trace_ids.append(ids_of)
    return TaskWork(runner, _tracing(daemon_id)), registry.catalogue()


def _tracing(daemon_id: str) -> Tracing | None:
    """Return what workers do about traces, if the environment asks for any; loaded here, so that workers share it."""
    if not exporters(os.environ):
        return None
    from workd.tracing.running import Tracing

    tracing = Tracing(daemon_id)
    if tracing.trouble:
        log.get_logger(__name__).warning(NO_TRACES, why=tracing.trouble)
    return tracing
