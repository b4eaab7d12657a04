"""What a worker does with one job: find the task, validate the arguments, call it, and say how that ended.

The worker process calls `TaskRunner.run` for each job that it claimed, and sends what comes back as one
frame. Every end of a task is data here: a return, an exception of any kind, `sys.exit`, a soft timeout. Only
the death of the process is not; the supervisor sees that. It must never log on the way to success, and never
import what a worker has no use for (redis, asyncio, uvloop).

A `SoftTimeout` strikes only in the task's function itself (see `alarm`), and is data like all else.
"""

from __future__ import annotations

import traceback as tracebacks
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json

from workd import excerpt, wire
from workd.errors import InvalidMessageError, UnknownVersionError
from workd.output import printing
from workd.output.printing import open_lines
from workd.pool import frames
from workd.pool.child import alarm
from workd_tasks import hooks, registry, signature
from workd_tasks.context import Context, current, never, unheard
from workd_tasks.errors import HookError, Reject, Retry, SoftTimeout
from workd_tasks.hooks import Round, around
from workd_tasks.signature import ArgumentsError, ResultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from workd_tasks.define import Task

MAX_MESSAGE_BYTES: Final = 4 * 1024
MAX_TRACEBACK_BYTES: Final = 16 * 1024
MAX_CAUSE_BYTES: Final = 1024
_MAX_SUGGESTIONS: Final = 3
OWN_FILES: Final = {__file__, signature.__file__, hooks.__file__}


class RunnerJob(NamedTuple):
    """One job as the worker got it (see `frames.encode_job`); `message` is the envelope, byte for byte.

    `start` and `end` say where in it the arguments stand, if nobody has parsed them yet (see `excerpt`).
    """

    id: str
    task: str
    attempt: int
    delivery: int
    message: bytes | memoryview
    start: int = 0
    end: int = 0
    queue: int = 0  # its number among the daemon's
    timeout_s: float = 0.0  # 0: none
    enqueued_ms: int = 0


class TaskRunner:
    """Runs jobs, one after the other, in the thread that calls."""

    __slots__ = ("_daemon_id", "_max_result_bytes", "_progress", "_queues", "_should_stop")

    def __init__(
        self,
        daemon_id: str,
        max_result_bytes: int,
        *,
        queues: Sequence[str] = (),
        should_stop: Callable[[], bool] = never,
        progress: Callable[[float, float | None, str], None] = unheard,
    ) -> None:
        """Take what every job's context is made of, and the size over which a result is refused."""
        self._queues = queues or ("",)
        self._daemon_id = daemon_id
        self._max_result_bytes = max_result_bytes
        self._should_stop = should_stop
        self._progress = progress

    def run(self, job: RunnerJob) -> tuple[int, bytes]:
        """Run one job; return the kind of its end (see `frames`) and the payload, which is JSON."""
        task = registry.get(job.task)
        if task is None:
            return frames.UNKNOWN_TASK, unknown(job.task)
        message = message_of(job)
        job_context = self.context_of(job, message)
        token = current.set(job_context)
        try:
            call, args, kwargs = bind(task, job, message)
            if not around:
                try:
                    alarm.arm()
                    value = task.fn(*args, **kwargs)
                finally:
                    alarm.disarm()
            else:
                value = _run_hooked(task, job_context, args, kwargs)
            payload = call.dump(value)
        except BaseException as error:  # noqa: BLE001 (every end of a task is data; the process must live on)
            return raised(task, error)
        finally:
            if open_lines:
                printing.end_job(job_context)
            current.reset(token)
        if len(payload) > self._max_result_bytes:
            return frames.TOO_LARGE, _too_large(job.task, len(payload), self._max_result_bytes)
        return frames.RETURNED, payload

    # ── for `coroutines` too, which does the same in a loop ─────────────────────────────────────────────────────

    def context_of(
        self,
        job: RunnerJob,
        message: bytes,
        should_stop: Callable[[], bool] | None = None,
        progress: Callable[[float, float | None, str], None] | None = None,
    ) -> Context:
        """Return the context of a job; `message` is what `message_of` returns.

        One that runs beside others has a way of its own to be asked to stop, and to be heard.
        """
        return Context(
            job.id,
            job.task,
            job.attempt,
            job.delivery,
            self._daemon_id,
            should_stop or self._should_stop,
            progress or self._progress,
            self._queues[job.queue],
            job.enqueued_ms / 1000,
            monotonic() + job.timeout_s if job.timeout_s else None,
            message,
        )

    def returned(self, task: str, payload: bytes) -> tuple[int, bytes]:
        """Return the outcome of a run with this value as JSON."""
        if len(payload) > self._max_result_bytes:
            return frames.TOO_LARGE, _too_large(task, len(payload), self._max_result_bytes)
        return frames.RETURNED, payload


def bind(task: Task, job: RunnerJob, message: bytes) -> tuple[signature.Signature, tuple[Any, ...], dict[str, Any]]:
    """Return a task's signature and its arguments, validated; raises what `raised` knows."""
    call = signature.of(task)
    args, kwargs = call.bind(message) if not job.end else _bind_unread(call, job)
    return call, args, kwargs


def message_of(job: RunnerJob) -> bytes:
    """Return the message for the context; a long one without its arguments, which a context must not hold."""
    if not job.end:
        return bytes(job.message)
    return b"[]".join((job.message[: job.start], job.message[job.end :]))


def _run_hooked(task: Task, job: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a task inside its hooks: none of which a soft timeout may cut short, in the middle of a commit, say."""
    with Round(job) as hooked:
        try:
            alarm.arm()
            hooked.value = task.fn(*args, **kwargs)
        finally:
            alarm.disarm()
    return hooked.value


class _UnreadableError(Exception):
    """The message turns out to be none."""


class _OtherVersionError(Exception):
    """The message turns out to be of another version; not `UnknownVersionError`, which a task may raise as well."""


def _bind_unread(call: signature.Signature, job: RunnerJob) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Bind arguments that the supervisor has not looked at.

    Raises `_UnreadableError` if they are no JSON, or `_OtherVersionError`.
    """
    arguments = bytes(job.message[job.start : job.end])
    try:
        try:
            found = call.bind_positional(arguments)
        except ArgumentsError:
            message = bytes(job.message)
            excerpt.check(message, arguments)
            return call.bind(message)
        excerpt.refuse_non_finite_in(arguments)
    except InvalidMessageError as error:
        raise _UnreadableError("; ".join(error.details)) from error
    except UnknownVersionError as error:
        raise _OtherVersionError(str(error)) from error
    return found


def raised(task: Task, error: BaseException) -> tuple[int, bytes]:
    """Tell what the exception says about the job. One that breaks whoever looks at it ends this job and no worker."""
    try:
        return _tell(task, error)
    except BaseException as broken:  # noqa: BLE001 (users' exceptions have code of their own, which may do anything)
        text = f"the task raised an exception that cannot be told: to look at it raises {type(broken).__name__}"
        return frames.RAISED, _failure(RuntimeError(text))


def _tell(task: Task, error: BaseException) -> tuple[int, bytes]:
    match error:
        case ArgumentsError():
            return frames.INVALID, _info("InvalidArguments", f"task {task.name!r}: {_fault(error.__cause__)}")
        case _OtherVersionError():  # which a newer daemon may know, as it may a task
            return frames.UNKNOWN_TASK, _info("UnknownVersion", str(error))
        case _UnreadableError():
            return frames.INVALID, _info("InvalidMessage", str(error))
        case Reject():
            return frames.REJECTED, _info("Reject", error.reason, _traceback(error), _cause(error))
        case ResultError():
            return frames.RAISED, _failure(error, retry=False, traceback=False)
        case Retry():
            return frames.RAISED, _failure(error, after_s=error.after_s)
        case _:
            return frames.RAISED, _failure(error, retry=_is_worth_a_run(task, error))


def _is_worth_a_run(task: Task, error: BaseException) -> bool:
    """Say whether the task's `retry_for` and `no_retry_for` let this exception be retried.

    The end of its time is no exception that a task thinks of in `retry_for`: it is retried as a hard timeout is,
    unless `no_retry_for` names it.
    """
    if isinstance(error, HookError) and error.__cause__ is not None:
        error = error.__cause__
    if task.no_retry_for and isinstance(error, task.no_retry_for):
        return False
    return task.retry_for is None or isinstance(error, (SoftTimeout, *task.retry_for))


def _failure(
    error: BaseException,
    *,
    retry: bool = True,
    after_s: float | None = None,
    traceback: bool = True,
) -> bytes:
    return to_json(
        {
            "type": _type_name(error),
            "message": _clip(_text(error), MAX_MESSAGE_BYTES),
            "traceback": _traceback(error) if traceback else None,
            "cause": _cause(error),
            "retry": retry,
            "after_s": after_s,
            "timed_out": isinstance(error, SoftTimeout),
        },
    )


def _info(kind: str, message: str, traceback: str | None = None, cause: str | None = None) -> bytes:
    text = _clip(message, MAX_MESSAGE_BYTES)
    return wire.encode_error(wire.ErrorInfo(type=kind, message=text, traceback=traceback, cause=cause))


def _fault(error: BaseException | None) -> str:
    """Say what is wrong with the arguments: by pydantic's paths, or as Python says it of a call."""
    return "; ".join(wire.describe(error)) if isinstance(error, ValidationError) else str(error)


def unknown(name: str) -> bytes:
    """Say that nothing is called so here."""
    import difflib  # only for this: the success path does without

    near = difflib.get_close_matches(name, registry.all_tasks(), _MAX_SUGGESTIONS)
    hint = f"; did you mean {', '.join(near)}?" if near else ": is its module among those that the daemon runs?"
    return _info("UnknownTask", f"no task is called {name!r} here{hint}")


def _too_large(task: str, size_bytes: int, limit_bytes: int) -> bytes:
    return _info(
        "ResultTooLarge",
        f"task {task!r} returned {size_bytes:,} bytes of JSON, over the limit of {limit_bytes:,}; "
        f"store large results elsewhere and return where",
    )


def _type_name(error: BaseException) -> str:
    """Return the name as people write it: with its module, unless it is Python's or ours."""
    kind = type(error)
    own = kind.__module__ == "builtins" or kind.__module__.split(".", 1)[0] in {"workd", "workd_tasks"}
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error) or ("it took longer than its soft timeout" if isinstance(error, SoftTimeout) else "")
    except Exception as broken:  # noqa: BLE001 (a __str__ of the user's own)
        return f"<its text cannot be had: {type(broken).__name__} in __str__>"


def _cause(error: BaseException) -> str | None:
    """Return what `error` was raised from, or while handling, in one line."""
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    return None if cause is None else _clip(": ".join(filter(None, (_type_name(cause), _text(cause)))), MAX_CAUSE_BYTES)


def _traceback(error: BaseException) -> str:
    """Return the traceback with its chain of causes, from the first frame that is not ours."""
    lines = tracebacks.format_exception(type(error), error, _after_own(error.__traceback__))
    return _clip("".join(lines), MAX_TRACEBACK_BYTES)


def _after_own(frame: TracebackType | None) -> TracebackType | None:
    while frame is not None and frame.tb_frame.f_code.co_filename in OWN_FILES:
        frame = frame.tb_next
    return frame


def _clip(text: str, limit_bytes: int) -> str:
    """Cut out the middle of what is too long: first and last lines say most. Lone surrogates become '?'."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return raw.decode()
    note = f"\n… {len(raw) - limit_bytes:,} bytes cut …\n".encode()
    head = (limit_bytes - len(note)) // 2
    tail = limit_bytes - len(note) - head
    return (raw[:head] + note + raw[-tail:]).decode("utf-8", "ignore")
