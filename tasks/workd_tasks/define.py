"""`@task`: from a plain function to a registered task.

Used by everybody who writes tasks. The function comes back as it was: callable, picklable, testable.
Everything that is wrong with a definition is refused here, while its module is imported, and not when the
first job comes.
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from workd_tasks.errors import TaskDefinitionError
from workd_tasks.registry import add

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

NAME_RULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
QUEUE_RULE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")
MAX_SPAN_S: Final = 10 * 366 * 86_400  # ten years; what is longer is a wrong unit


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is to be run, unless a message says otherwise. Times are seconds."""

    queue: str = "default"
    """The queue that clients send it to."""
    timeout: float | None = None
    """What one attempt may take; None: the daemon's `timeout_s`."""
    max_retries: int = 0
    """How many attempts may follow the first, if that fails."""
    backoff_s: float = 1.0
    """The wait before the first retry; it doubles each time."""
    max_backoff_s: float = 300.0
    """What the wait never exceeds."""
    result_ttl: float | None = None
    """How long the outcome is kept; None: as the message says, else not at all."""

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain JSON data."""
        return asdict(self)


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

    @property
    def place(self) -> str:
        """Where it is defined, as people read it."""
        return f"{self.module}.{self.qualname} ({self.file}:{self.line})"


@overload
def task(fn: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def task(
    *,
    name: str | None = None,
    queue: str = "default",
    timeout: float | None = None,
    max_retries: int = 0,
    backoff_s: float = 1.0,
    max_backoff_s: float = 300.0,
    result_ttl: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def task(fn: Callable[P, R] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Register a function as a task, and return that same function.

    Written `@task` or `@task(timeout=30, max_retries=5)`; the options are those of `TaskOptions`, and `name`,
    which is the function's own unless given. Raises `TaskDefinitionError`.
    """

    def register(fn: Callable[P, R]) -> Callable[P, R]:
        add(_define(fn, name, options))
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
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise TaskDefinitionError(
            f"task {name!r}: {place} is async; tasks are plain functions (call asyncio.run inside one)"
        )
    if inspect.isgeneratorfunction(fn):
        raise TaskDefinitionError(f"task {name!r}: {place} yields; a task has one result, return a list")
    return Task(
        name=name,
        fn=fn,
        options=_options(name, options),
        module=fn.__module__,
        qualname=fn.__qualname__,
        file=code.co_filename,
        line=code.co_firstlineno,
    )


def _options(name: str, given: dict[str, Any]) -> TaskOptions:
    known = {field.name for field in fields(TaskOptions)}
    for option, value in given.items():
        if option not in known:
            raise TaskDefinitionError(
                f"task {name!r}: there is no option {option}; there are name, {', '.join(sorted(known))}"
            )
        fits, rule = _RULES[option]
        if not fits(value):
            raise TaskDefinitionError(f"task {name!r}: option {option}={value!r} must be {rule}")
    return TaskOptions(**given)


def _is_queue(value: object) -> bool:
    return isinstance(value, str) and QUEUE_RULE.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_span(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= MAX_SPAN_S  # type: ignore[arg-type,operator]


def _is_timeout(value: object) -> bool:
    return value is None or (_is_span(value) and value != 0)


_RULES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "queue": (_is_queue, f"a string that matches {QUEUE_RULE.pattern}"),
    "timeout": (_is_timeout, "a number of seconds above 0, or None"),
    "max_retries": (_is_count, "an int of 0 or more"),
    "backoff_s": (_is_span, "a number of seconds, 0 or more"),
    "max_backoff_s": (_is_span, "a number of seconds, 0 or more"),
    "result_ttl": (lambda value: value is None or _is_span(value), "a number of seconds, 0 or more, or None"),
}
