"""Hooks: code of one's own around every task, and at the start and the end of every worker.

    @around_task                        @on_worker_start
    def timed(job):                     def connect():
        began = time.monotonic()            global database
        yield                               database = open_database()
        observe(job.task, time.monotonic() - began)

Registered while task modules are imported, kept per process, used by whoever runs tasks. Hooks around tasks stand in
each other like the layers of an onion: the first that was registered is the outermost. So do those of workers: the
last that was started is stopped first.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

from workd_tasks.errors import HookError, Reject, Retry, SoftTimeout, TaskDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator
    from types import TracebackType

    from workd_tasks.context import Context

    AroundT = TypeVar("AroundT", bound=Callable[[Context], Iterator[Any]])
    BeforeT = TypeVar("BeforeT", bound=Callable[[Context], object])
    AfterT = TypeVar("AfterT", bound=Callable[[Context, Any], object])
    FailureT = TypeVar("FailureT", bound=Callable[[Context, BaseException], object])
    WorkerT = TypeVar("WorkerT", bound=Callable[[], object])
    RunT = Callable[[Coroutine[Any, Any, object]], object]


class Hook(NamedTuple):
    """A registered hook: what is called, and the function that its author wrote."""

    call: Callable[..., Any]
    fn: Callable[..., Any]

    @property
    def place(self) -> str:
        """Where it is defined, as people read it."""
        code = self.fn.__code__
        return f"{self.fn.__qualname__} ({code.co_filename}:{code.co_firstlineno})"


around: Final[list[Hook]] = []
"""Around each task, the outermost first. Looked at for each run: while it is empty, a run pays for nothing else."""
starts: Final[list[Hook]] = []
stops: Final[list[Hook]] = []


# ── registering ─────────────────────────────────────────────────────────────────────────────────────────────────────


def around_task(fn: AroundT) -> AroundT:
    """Have this generator function run around each task of the process: it takes the job's context and yields once.

    What stands before the `yield` runs before the task. The `yield` gives the task's value, or raises what the task
    raised; a failure stays one, whether the hook lets it through or not. What the hook itself raises fails the attempt
    as a `HookError` that names it; `Retry`, `Reject` and `SoftTimeout` mean what they mean in a task. Raises
    `TaskDefinitionError`.
    """
    _check("around_task", fn, "job")
    yields = inspect.isgeneratorfunction(fn)  # asked for here, since it tells type checkers something else
    if not yields:
        raise TaskDefinitionError(f"@around_task: {_place(fn)} must yield once, where the task is to run")
    _add(around, Hook(fn, fn))
    return fn


def before_task(fn: BeforeT) -> BeforeT:
    """Call this function with the job's context before each task. Raises as `around_task` says, which is the whole."""
    _check("before_task", fn, "job")

    def hook(job: Context) -> Generator[None, Any, None]:
        fn(job)
        yield

    _add(around, Hook(hook, fn))
    return fn


def after_task(fn: AfterT) -> AfterT:
    """Call this function with the job's context and the value after each task that returned."""
    _check("after_task", fn, "job", "value")

    def hook(job: Context) -> Generator[None, Any, None]:
        value = yield
        fn(job, value)

    _add(around, Hook(hook, fn))
    return fn


def on_failure(fn: FailureT) -> FailureT:
    """Call this function with the job's context and the exception after each task that raised, soft timeouts too."""
    _check("on_failure", fn, "job", "error")

    def hook(job: Context) -> Generator[None, Any, None]:
        try:
            yield
        except BaseException as error:
            fn(job, error)
            raise

    _add(around, Hook(hook, fn))
    return fn


def on_worker_start(fn: WorkerT) -> WorkerT:
    """Call this function in each worker, after the fork and before its first job: the place to open connections.

    What it raises is a boot failure of the worker, with its traceback. An `async def` one is run to its end in the
    worker's event loop, the one of `async def` tasks.
    """
    _check("on_worker_start", fn)
    _add(starts, Hook(fn, fn))
    return fn


def on_worker_stop(fn: WorkerT) -> WorkerT:
    """Call this function in each worker that leaves by order, after its last job. One that is killed calls nothing.

    It has some two seconds; then the worker is killed. An `async def` one runs in the worker's event loop.
    """
    _check("on_worker_stop", fn)
    _add(stops, Hook(fn, fn))
    return fn


def _check(decorator: str, fn: object, *arguments: str) -> None:
    if not inspect.isfunction(fn):
        raise TaskDefinitionError(f"@{decorator} takes a plain function (def), not {fn!r}; wrap it in one")
    if inspect.isasyncgenfunction(fn) or (arguments and inspect.iscoroutinefunction(fn)):
        raise TaskDefinitionError(f"@{decorator}: {_place(fn)} is async; hooks around tasks are plain functions")
    if decorator != "around_task" and inspect.isgeneratorfunction(fn):
        raise TaskDefinitionError(f"@{decorator}: {_place(fn)} yields; only @around_task takes such a function")
    try:
        inspect.signature(fn).bind(*arguments)
    except TypeError as error:
        takes = f"({', '.join(arguments)})"
        raise TaskDefinitionError(f"@{decorator}: {_place(fn)} must take {takes}: {error}") from None


def _add(hooks: list[Hook], hook: Hook) -> None:
    """Register; a script that is imported once more under its real name replaces what it registered as `__main__`."""
    for index, known in enumerate(hooks):
        if known.place == hook.place and known.fn.__module__ != hook.fn.__module__:
            hooks[index] = hook
            return
    hooks.append(hook)


def _place(fn: Callable[..., Any]) -> str:
    return Hook(fn, fn).place


# ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Round:
    """One run of a task inside all hooks. Whoever runs the task sets `value` to what it returned.

    with Round(job) as hooked:
        hooked.value = fn()
    """

    __slots__ = ("_entered", "_job", "value")

    def __init__(self, job: Context) -> None:
        """Take the context that each hook is given."""
        self._job = job
        self._entered: list[tuple[Hook, Generator[None, Any, None]]] = []
        self.value: Any = None

    def __enter__(self) -> Self:
        """Run each hook up to its `yield`; one that raises has those around it hear of a failure."""
        try:
            for hook in around:
                self._enter(hook)
        except BaseException as error:
            final = self._leave(error)
            if final is None or final is error:
                raise
            raise final  # noqa: B904 (it has its cause)
        return self

    def _enter(self, hook: Hook) -> None:
        generator = hook.call(self._job)
        try:
            next(generator)
        except StopIteration:
            raise HookError(hook.place, "it did not yield") from None
        except BaseException as raised:
            if (error := _named(hook, raised)) is raised:
                raise
            raise error from raised
        self._entered.append((hook, generator))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Run the rest of each hook, the innermost first; raise what the run ends with."""
        final = self._leave(error)
        if error is not None:
            error.__traceback__ = traceback  # without the frames of hooks that it came through
        if final is not None and final is not error:
            raise final

    def _leave(self, error: BaseException | None) -> BaseException | None:
        while self._entered:
            hook, generator = self._entered.pop()
            error = _resume(hook, generator, self.value, error)
        return error


def _resume(
    hook: Hook, generator: Generator[None, Any, None], value: Any, error: BaseException | None
) -> BaseException | None:
    """Run the rest of one hook; return what the run fails with from there on, if it does."""
    try:
        if error is None:
            generator.send(value)
        else:
            generator.throw(error)
    except StopIteration:
        return error  # a hook that keeps a failure to itself does not undo it
    except BaseException as raised:  # noqa: BLE001 (whatever a hook raises is the end of the attempt)
        # A StopIteration that goes through a generator comes out as a RuntimeError (PEP 479).
        is_same = raised is error or (isinstance(error, StopIteration) and raised.__cause__ is error)
        return error if is_same else _with_cause(_named(hook, raised), raised)
    generator.close()
    return HookError(hook.place, "it yielded more than once")


def _named(hook: Hook, raised: BaseException) -> BaseException:
    """Return what an exception of a hook's own means: a wish of its author's, or a fault in it."""
    if isinstance(raised, (Retry, Reject, SoftTimeout)):
        return raised
    return HookError(hook.place, f"{type(raised).__name__}: {raised}")


def _with_cause(error: BaseException, cause: BaseException) -> BaseException:
    if error is not cause:
        error.__cause__ = cause
    return error


def any_async() -> bool:
    """Say whether a hook of workers is a coroutine function."""
    return any(inspect.iscoroutinefunction(hook.fn) for hook in (*starts, *stops))


def start_worker(run: RunT) -> None:
    """Run what is to run at the start of a worker, in order; `run` is given coroutines. Raises what a hook raises."""
    for hook in starts:
        _call(hook, run)


def stop_worker(run: RunT) -> None:
    """Run what is to run at the end of a worker, the last registered first; one that fails keeps no other from it."""
    for hook in reversed(stops):
        try:
            _call(hook, run)
        except BaseException:  # noqa: BLE001 (the worker leaves all the same)
            sys.stderr.write(f"workd: {hook.place} failed when the worker left\n{traceback.format_exc()}")


def _call(hook: Hook, run: RunT) -> None:
    made = hook.call()
    if inspect.iscoroutine(made):
        run(made)
