"""What can be said of a task: every option with its type, default, rule and meaning. One table, and nothing else.

Read by `define` when a module is imported, and by the supervisor, as plain JSON data in the catalogue. A new option is
a field of `TaskOptions` with its rule, and a line in `TaskKeywords`, which tells type checkers the same; a test
compares the two.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from workd_tasks.errors import TaskDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

QUEUE_RULE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")
MAX_SPAN_S: Final = 10 * 366 * 86_400  # ten years; what is longer is a wrong unit
MAX_COUNT: Final = 1_000_000  # as on the wire
MAX_CONCURRENCY: Final = 1000  # of the runs in one worker: a crash costs all of them
MIN_MEMORY_BYTES: Final = 1024 * 1024

_SIZE_RULE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]?)(?:i?B)?", re.ASCII)
_SIZE_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

_RATE_RULE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)/([smhd])", re.ASCII)
_RATE_SPANS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


class TaskKeywords(TypedDict, total=False):
    """What `@task(…)` takes, for type checkers; what each means is said in `TaskOptions` and `Task`."""

    name: str | None
    queue: str
    timeout: float | None
    soft_timeout: float | None
    max_retries: int
    backoff_s: float
    max_backoff_s: float
    jitter: bool
    retry_for: ExceptionTypes | None
    no_retry_for: ExceptionTypes
    max_crashes: int | None
    expires: float | None
    start_by: float | None
    result_ttl: float | None
    unique: bool
    memory_limit: int | str | None
    concurrency: int | None
    rate_limit: str | None
    rate_burst: int | None
    concurrency_limit: int | None
    cron: str | None
    timezone: str


class Rule(NamedTuple):
    """How the value of an option is checked: `read` returns it as it is kept, or raises ValueError or TypeError."""

    read: Callable[[Any], Any]
    words: str


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _queue(value: Any) -> str:
    if isinstance(value, str) and QUEUE_RULE.fullmatch(value):
        return value
    raise ValueError


def _count(value: Any, least: int = 0) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_COUNT:
        return value
    raise ValueError


def _concurrency(value: Any) -> int:
    if _count(value, 1) <= MAX_CONCURRENCY:
        return int(value)
    raise ValueError


def _span(value: Any) -> float:
    if _is_number(value) and 0 <= value <= MAX_SPAN_S:
        return float(value)
    raise ValueError


def _length(value: Any) -> float:
    span_s = _span(value)
    if span_s:
        return span_s
    raise ValueError


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError


def size_bytes(value: Any) -> int:
    """Read a size as people write it, `512M` or `1.5 GiB` (units are powers of 1024), or as a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE_RULE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no size: a number of bytes, or one with a unit, as 512M")
    return int(float(found[1]) * _SIZE_UNITS[found[2]])


def _memory(value: Any) -> int:
    size = size_bytes(value)
    if size < MIN_MEMORY_BYTES or size >= 2**63:
        raise ValueError
    return size


def per_second(rate: str) -> float:
    """Return how many starts a second a rate allows, as `100/s`, `30/m`, `5/h` or `1.5/d`; ValueError for others."""
    found = _RATE_RULE.fullmatch(rate)
    count = float(found[1]) if found else 0.0
    if found is None or not count:
        raise ValueError(f"{rate!r} is no rate: a number above 0, a slash and s, m, h or d, as 30/m")
    return count / _RATE_SPANS_S[found[2]]


def _rate(value: Any) -> str:
    if isinstance(value, str) and 1 / MAX_SPAN_S <= per_second(value) <= MAX_COUNT:
        return value
    raise ValueError


def _cron(value: Any) -> str:
    """Check the shape alone; the daemon, which has cronsim, reads it when it starts."""
    if isinstance(value, str) and (len(value.split()) in (5, 6) or value.startswith("@")):
        return value
    raise ValueError


def _zone(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise ValueError


def _or_none(rule: Rule) -> Rule:
    return Rule(lambda value: None if value is None else rule.read(value), f"{rule.words}, or None")


QUEUE: Final = Rule(_queue, f"a string that matches {QUEUE_RULE.pattern}")
COUNT: Final = Rule(_count, "an int of 0 or more (at most a million)")
COUNT_FROM_1: Final = Rule(lambda value: _count(value, 1), "an int of 1 or more (at most a million)")
SPAN: Final = Rule(_span, "a number of seconds, 0 or more (at most ten years)")
LENGTH: Final = Rule(_length, "a number of seconds above 0 (at most ten years)")
FLAG: Final = Rule(_flag, "True or False")
CONCURRENCY: Final = Rule(_concurrency, f"an int from 1 to {MAX_CONCURRENCY}")
MEMORY: Final = Rule(_memory, 'a number of bytes or a string such as "512M", at least 1 MiB')
RATE: Final = Rule(_rate, 'a string such as "100/s", "30/m", "5/h" or "1/d", at most a million a second')
CRON: Final = Rule(_cron, "a string of five fields, six with seconds first, or one such as @daily")
ZONE: Final = Rule(_zone, "the name of a time zone, such as Europe/Berlin")

# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────


def option(default: Any, rule: Rule) -> Any:
    """Declare an option: a field with its default and its rule."""
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How a task is to be run, unless a message says otherwise. Times are seconds."""

    queue: str = option("default", QUEUE)
    """The queue that clients send it to."""
    timeout: float | None = option(None, _or_none(LENGTH))
    """What one attempt may take before its worker is killed; None: the daemon's `timeout_s`."""
    soft_timeout: float | None = option(None, _or_none(LENGTH))
    """After so long `SoftTimeout` is raised in the task, so that it can clean up; None: it is not."""
    max_retries: int = option(0, COUNT)
    """How many attempts may follow the first, if that fails."""
    backoff_s: float = option(1.0, SPAN)
    """The wait before the first retry; it doubles each time."""
    max_backoff_s: float = option(300.0, SPAN)
    """What the wait never exceeds."""
    jitter: bool = option(True, FLAG)  # noqa: FBT003 (the default of a field)
    """Whether a wait is drawn anew from 0 to what it would be: many that fail together do not return together."""
    max_crashes: int | None = option(None, _or_none(COUNT_FROM_1))
    """Dead after so many runs that killed their worker; None: the daemon's `max_crashes`."""
    expires: float | None = option(None, _or_none(LENGTH))
    """No run of it starts later than so long after it was due (`run_at`, or its enqueue): then it is `expired`."""
    start_by: float | None = option(None, _or_none(LENGTH))
    """Its first run starts within so long after it was due, or never: then it is `expired`."""
    result_ttl: float | None = option(None, _or_none(SPAN))
    """How long the outcome is kept; None: as the message says, else not at all."""
    unique: bool = option(False, FLAG)  # noqa: FBT003 (the default of a field)
    """Whether at most one job of it with equal arguments is queued or running; a second one is a duplicate."""
    memory_limit: int | None = option(None, _or_none(MEMORY))
    """Bytes of memory over which the worker that runs it is killed; None: the daemon's `memory_limit_bytes`."""
    concurrency: int | None = option(None, _or_none(CONCURRENCY))
    """Of an `async def` task: so many runs may be in one worker at once; None: the daemon's `async_concurrency`."""
    rate_limit: str | None = option(None, _or_none(RATE))
    """How often it starts at most, over all daemons and for each queue, as `30/m`; what is too early waits its turn."""
    rate_burst: int | None = option(None, _or_none(COUNT_FROM_1))
    """How many may start at once after a rest, under `rate_limit`; None: a second's worth, at least 1."""
    concurrency_limit: int | None = option(None, _or_none(COUNT_FROM_1))
    """How many of it run at once at most, over all daemons and for each queue; the others wait their turn."""
    cron: str | None = option(None, _or_none(CRON))
    """When to enqueue it without arguments, as a line of cron: `0 3 * * *`; None: when somebody does."""
    timezone: str = option("UTC", ZONE)
    """In which the fields of `cron` are read."""

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain JSON data."""
        return asdict(self)


def read_options(task: str, given: Mapping[str, Any]) -> TaskOptions:
    """Check what `@task(…)` was given for the table; raises `TaskDefinitionError` with the option's name."""
    rules: dict[str, Rule] = {one.name: one.metadata["rule"] for one in fields(TaskOptions)}
    for option in given:
        if option not in rules:
            known = ", ".join(sorted(TaskKeywords.__annotations__))
            raise TaskDefinitionError(f"task {task!r}: there is no option {option}; there are {known}")
    options = TaskOptions(**{option: _read(task, option, rules[option], value) for option, value in given.items()})
    if options.soft_timeout is not None and options.timeout is not None and options.soft_timeout >= options.timeout:
        raise TaskDefinitionError(
            f"task {task!r}: option soft_timeout={options.soft_timeout:g} must be less than"
            f" timeout={options.timeout:g}, or it never comes"
        )
    if options.rate_burst is not None and options.rate_limit is None:
        raise TaskDefinitionError(
            f"task {task!r}: option rate_burst={options.rate_burst} says nothing without rate_limit"
        )
    return options


def read_exception_types(task: str, option: str, value: Any) -> tuple[type[BaseException], ...]:
    """Check what `retry_for` or `no_retry_for` was given; raises `TaskDefinitionError`."""
    return tuple(_read(task, option, _EXCEPTIONS, value))


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    types = value if isinstance(value, tuple) else (value,)
    if all(isinstance(one, type) and issubclass(one, BaseException) for one in types):
        return types
    raise ValueError


_EXCEPTIONS: Final = Rule(_exceptions, "an exception type or a tuple of them")


def _read(task: str, option: str, rule: Rule, value: Any) -> Any:
    try:
        return rule.read(value)
    except (ValueError, TypeError, OverflowError):
        raise TaskDefinitionError(f"task {task!r}: option {option}={value!r} must be {rule.words}") from None
