"""`@task`: from a plain function to a registered task.

Used by everybody who writes tasks. The function comes back as it was: callable, picklable, testable.
Everything that is wrong with a definition is refused here, while its module is imported, and not when the
first job comes.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, Unpack, overload

from workd_tasks.errors import TaskDefinitionError
from workd_tasks.options import TaskKeywords, TaskOptions, read_exception_types, read_options
from workd_tasks.registry import add

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

NAME_RULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


@dataclass(frozen=True, slots=True)
class Task:
    """A registered function."""

    name: str
    fn: Callable[..., Any]
    options: TaskOptions
    module: str
    qualname: str
    file: str
    line: int
    retry_for: tuple[type[BaseException], ...] | None = None
    """If given, only these are worth another run."""
    no_retry_for: tuple[type[BaseException], ...] = ()
    """These are never worth another run."""

    @property
    def is_async(self) -> bool:
        """Whether it is a coroutine function, which runs on its worker's event loop."""
        return inspect.iscoroutinefunction(self.fn)

    @property
    def place(self) -> str:
        """Where it is defined, as people read it."""
        return f"{self.module}.{self.qualname} ({self.file}:{self.line})"


@overload
def task(fn: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def task(**options: Unpack[TaskKeywords]) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def task(fn: Callable[P, R] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Register a function as a task, and return that same function.

    Written `@task` or `@task(timeout=30, max_retries=5)`. The options are those of `TaskOptions`; `name`, which is the
    function's own unless given; `retry_for` and `no_retry_for`, exception types (or tuples of them): if `retry_for` is
    given, no other exception is retried, and those in `no_retry_for` never are. Raises `TaskDefinitionError`.
    """

    def register(fn: Callable[P, R]) -> Callable[P, R]:
        add(_define(fn, name, dict(options)))
        return fn

    return register if fn is None else register(fn)


def _define(fn: Callable[..., Any], name: Any, options: dict[str, Any]) -> Task:
    if not inspect.isfunction(fn):
        raise TaskDefinitionError(f"@task takes a plain function (def), not {fn!r}; wrap it in one")
    code = inspect.unwrap(fn).__code__
    place = f"{fn.__module__}.{fn.__qualname__} ({code.co_filename}:{code.co_firstlineno})"
    name = fn.__name__ if name is None else name
    if not isinstance(name, str) or NAME_RULE.fullmatch(name) is None:
        raise TaskDefinitionError(
            f"{place}: {name!r} cannot be a task's name (it must match {NAME_RULE.pattern}): use name="
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TaskDefinitionError(f"task {name!r}: {place} yields; a task has one result, return a list")
    if options.get("concurrency") is not None and not inspect.iscoroutinefunction(fn):
        raise TaskDefinitionError(
            f"task {name!r}: option concurrency is for `async def` tasks; {place} is a plain function, and of"
            f" those a worker runs one at a time (the number of workers is the daemon's `workers`)"
        )
    if options.get("cron") is not None and not _takes_nothing(fn):
        raise TaskDefinitionError(
            f"task {name!r}: option cron is for tasks that need no arguments, and {place} does; name it in a"
            f" schedule of the daemon's settings, which can give some"
        )
    retry_for, no_retry_for = options.pop("retry_for", None), options.pop("no_retry_for", ())
    return Task(
        name=name,
        fn=fn,
        options=read_options(name, options),
        module=fn.__module__,
        qualname=fn.__qualname__,
        file=code.co_filename,
        line=code.co_firstlineno,
        retry_for=None if retry_for is None else read_exception_types(name, "retry_for", retry_for),
        no_retry_for=read_exception_types(name, "no_retry_for", no_retry_for),
    )


def _takes_nothing(fn: Callable[..., Any]) -> bool:
    try:
        inspect.signature(fn).bind()
    except TypeError:
        return False
    return True
