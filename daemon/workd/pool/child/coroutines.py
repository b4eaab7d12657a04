"""What a worker does with one job whose task is a coroutine function: as `runner`, but in the worker's loop.

A soft timeout is the loop's own timer here, since it can only be heeded while the loop turns anyway. It is a
cancellation, so that whatever the task awaits is tidied up as asyncio does that, and surfaces in the task as
`SoftTimeout`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from workd.output import printing
from workd.pool import frames
from workd.pool.child import notices, runner
from workd_tasks import errors, registry
from workd_tasks.context import current
from workd_tasks.hooks import Round, around

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from workd.pool.child.runner import RunnerJob, TaskRunner

runner.OWN_FILES.add(__file__)  # tracebacks begin in the user's function


class SoftTimeout(errors.SoftTimeout, asyncio.CancelledError):
    """The time of a coroutine is up: `SoftTimeout` for its author, a cancellation for the parts of asyncio it is in."""


async def run_async(tasks: TaskRunner, key: int, job: RunnerJob, soft_timeout_s: float) -> tuple[int, bytes]:
    """Run one job; return the kind of its end and the payload, as `TaskRunner.run` does."""
    task = registry.get(job.task)
    if task is None:
        return frames.UNKNOWN_TASK, runner.unknown(job.task)
    message = runner.message_of(job)
    should_stop, progress = partial(notices.is_asked_to_stop, key), partial(notices.report_of, key)
    job_context = tasks.context_of(job, message, should_stop, progress)
    current.set(job_context)  # of this asyncio task and those that it makes
    try:
        call, args, kwargs = runner.bind(task, job, message)
        if around:
            with Round(job_context) as hooked:
                hooked.value = await _within(key, task.fn(*args, **kwargs), soft_timeout_s)
            value = hooked.value
        else:
            value = await _within(key, task.fn(*args, **kwargs), soft_timeout_s)
        return tasks.returned(job.task, call.dump(value))
    except BaseException as error:  # noqa: BLE001 (every end of a task is data; the loop must go on)
        return runner.raised(task, error)
    finally:
        if printing.open_lines:
            printing.end_job(job_context)


def interrupt(key: int) -> bool:
    """Raise `SoftTimeout` in the job with this key, once, if it has a soft timeout; say whether it has."""
    interruptible = _interruptibles.get(key)
    if interruptible is not None and not interruptible.has_rung:
        interruptible.ring()
    return interruptible is not None


async def _within(key: int, run: Coroutine[Any, Any, Any], soft_timeout_s: float) -> Any:
    """Await `run`, and cancel it, once, after so many seconds; 0: never."""
    if not soft_timeout_s:
        return await run
    interruptible = _interruptibles[key] = _Interruptible(run)
    timer = asyncio.get_running_loop().call_later(soft_timeout_s, interrupt, key)
    try:
        return await interruptible
    except errors.SoftTimeout:
        raise
    except BaseException as error:
        if interruptible.has_rung and _is_cancellation(error):
            raise SoftTimeout from error
        raise
    finally:
        timer.cancel()
        del _interruptibles[key]


def _is_cancellation(error: BaseException) -> bool:
    """Say whether this is what a cancellation looks like once it has gone through a task group."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup((errors.SoftTimeout, asyncio.CancelledError)) is not None
    return isinstance(error, asyncio.CancelledError)


_interruptibles: dict[int, _Interruptible] = {}  # the runs with a soft timeout, by key


class _Interruptible:
    """Awaits a coroutine, and puts `SoftTimeout` in the place of the cancellation that `ring` asks for.

    That one arrives even if what the coroutine awaits swallows the cancellation and ends as if nothing had been.
    """

    __slots__ = ("_is_due", "_run", "_task", "has_rung")

    def __init__(self, run: Coroutine[Any, Any, Any]) -> None:
        self._run = run
        self._task = asyncio.current_task()
        self._is_due = False
        self.has_rung = False

    def ring(self) -> None:
        self.has_rung = self._is_due = True
        if self._task is not None:
            self._task.cancel("its soft timeout is over")

    def __await__(self) -> _Interruptible:
        return self

    __iter__ = __await__

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        return self._interrupt() if self._is_due else self._run.send(value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        del traceback  # what is thrown has its own
        error = kind if value is None else value
        if self._is_due and (isinstance(error, asyncio.CancelledError) or error is asyncio.CancelledError):
            return self._interrupt()
        return self._run.throw(error)

    def _interrupt(self) -> Any:
        self._is_due = False
        if self._task is not None:
            self._task.uncancel()  # it was ours, and is heeded hereby
        return self._run.throw(SoftTimeout())

    @property
    def cr_await(self) -> Any:
        """What it awaits, for who looks where a coroutine is."""
        return self._run

    def close(self) -> None:
        self._run.close()
