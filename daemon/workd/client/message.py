"""What was given to enqueue, as the bytes of one message.

Owns the options of a job as producers write them, and how a function or a name becomes a target. Called by
every client before anything is sent, so that a mistake is an `InvalidJobError` here and not a dead letter
there. The rules of the wire are asked of `workd.wire`, never repeated. Does no I/O.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypedDict, get_type_hints

from pydantic_core import to_json

from workd import wire
from workd.client.sending import SENDING_OPTIONS, Sending
from workd.errors import InvalidJobError, InvalidMessageError
from workd_tasks.adapters import BYTES_MODE, adapter_of
from workd_tasks.finite import refuse_unreadable
from workd_tasks.options import QUEUE_RULE
from workd_tasks.registry import task_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import TypeAdapter

    from workd_tasks import Task

DEFAULT_QUEUE = "default"
DEFAULT_RESULT_TTL_S = 3600.0
MAX_JOB_ID_CHARS = 512
_KEPT_DRAFTS = 1_000  # far more than a program has tasks: names may be made up while it runs

# Values of these types are the same before and after JSON: nothing is to be made of them.
_PLAIN = (int, str, float, bool, type(None), Any)


class Options(TypedDict, total=False):
    """What `with_options` takes; what is not given stays as it was, None is as if it had never been given.

    The last three are no part of a message: they say how it is sent, see `Sending`.
    """

    queue: str | None
    id: str | None
    run_at: datetime | float | None
    delay_s: float | None
    expires_at: datetime | float | None
    timeout: float | None
    soft_timeout: float | None
    start_by: float | None
    max_retries: int | None
    unique: str | None
    result_ttl: float | None
    meta: Mapping[str, str] | None
    trace: Mapping[str, str] | None
    retries: int | None
    durable: bool | None
    durable_replicas: int | None


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job is to be run, checked once; times are aware datetimes or epoch seconds."""

    queue: str | None = None
    id: str | None = None
    run_at: datetime | float | None = None
    delay_s: float | None = None
    expires_at: datetime | float | None = None
    timeout: float | None = None
    soft_timeout: float | None = None
    start_by: float | None = None
    max_retries: int | None = None
    unique: str | None = None
    result_ttl: float | None = None
    meta: Mapping[str, str] | None = None
    trace: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse here what the daemon would bury: the wire's own rules are asked."""
        if self.run_at is not None and self.delay_s is not None:
            raise InvalidJobError("run_at and delay_s are two ways to say one thing: give one of them")
        if type(self.delay_s) not in (int, float, NoneType):
            raise InvalidJobError(f"delay_s: {self.delay_s!r:.100} is no number of seconds")
        if self.queue is not None:
            check_queue(self.queue)
        try:
            raw = to_json({"task": "options", **self.fields(0.0)})
        except (ValueError, OverflowError) as error:
            raise InvalidJobError(f"options: they cannot be written as JSON: {error}") from error
        _check_on_the_wire("options", raw)
        if self.timeout is not None and self.soft_timeout is not None and self.soft_timeout >= self.timeout:
            raise InvalidJobError(
                f"soft_timeout={self.soft_timeout:g} must be less than timeout={self.timeout:g}, or it never comes"
            )

    def fields(self, now_s: float) -> dict[str, Any]:
        """Give the envelope's fields that these options set; `now_s` is wall time, for `delay_s`."""
        run_at = now_s + self.delay_s if self.delay_s is not None else _epoch("run_at", self.run_at)
        candidates: dict[str, Any] = {
            "id": self.id,
            "run_at": run_at,
            "expires_at": _epoch("expires_at", self.expires_at),
            "timeout": self.timeout,
            "soft_timeout": self.soft_timeout,
            "start_by": self.start_by,
            "max_retries": self.max_retries,
            "unique": self.unique,
            "result_ttl": self.result_ttl,
            "meta": self.meta,
            "trace": self.trace,
        }
        return {name: value for name, value in candidates.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be run: the registered name and, where a function was given, what is known of it."""

    name: str
    queue: str | None = None
    result_ttl_s: float | None = None
    signature: inspect.Signature | None = None
    fitting: range = range(0)  # so many arguments by position, and none by name, are sure to fit the signature
    adapter: TypeAdapter[Any] | None = None  # None: the JSON value is the value
    unique: bool = False  # the daemon gives its jobs a key


@dataclass(frozen=True, slots=True)
class Draft:
    """What all messages of one call have in common; `head` is what all of them begin with."""

    target: Target
    queue: str
    fields: Mapping[str, Any]
    head: bytes
    reply_name: str
    own_id: str | None
    unique: bool
    kept: bool
    sending: Sending

    def job_ids(self, entry_ids: Sequence[bytes]) -> list[str]:
        """Name the jobs that messages made from this have become."""
        return [self.own_id or entry_id.decode() for entry_id in entry_ids]


def draft(
    task: str | Callable[..., Any],
    options: JobOptions,
    client_queue: str,
    reply_name: str,
    sending: Sending | None = None,
) -> Draft:
    """Bring together what the call, the task and the client say, in this order of precedence."""
    target = resolve(task)
    result_ttl_s = next(
        ttl_s for ttl_s in (options.result_ttl, target.result_ttl_s, DEFAULT_RESULT_TTL_S) if ttl_s is not None
    )
    fields = options.fields(time.time()) | {"result_ttl": result_ttl_s}
    if result_ttl_s > 0:
        fields["reply_to"] = reply_name
    return Draft(
        target=target,
        queue=options.queue or target.queue or client_queue,
        fields=fields,
        head=to_json({"task": target.name, **fields})[:-1],
        reply_name=reply_name,
        own_id=options.id,
        unique=options.unique is not None or target.unique,
        kept=result_ttl_s > 0,
        sending=sending or Sending(),
    )


class Drafts:
    """The drafts of one client's view, kept for the next call of the same task. Safe for threads."""

    __slots__ = ("_client_queue", "_known", "_options", "_sending")

    def __init__(self, options: JobOptions, client_queue: str, sending: Sending | None = None) -> None:
        """Begin with none; `sending` is the client's own."""
        self._sending = sending
        self._options = options
        self._client_queue = client_queue
        self._known: dict[str | Callable[..., Any], Draft] = {}

    def of(self, task: str | Callable[..., Any], reply_name: str) -> Draft:
        """Return the draft for jobs of this task whose replies go to `reply_name`: as `draft`, and raises as it."""
        try:
            known = self._known.get(task)
        except TypeError:
            raise _no_task(task) from None  # a list, say, which has no hash
        if known is not None and known.reply_name == reply_name:  # it is another one in a forked child
            return known
        made = draft(task, self._options, self._client_queue, reply_name, self._sending)
        if self._options.delay_s is None:  # else what it says is as of now
            if len(self._known) >= _KEPT_DRAFTS:
                self._known.clear()
            self._known[task] = made
        return made


def refuse_own_id(own_id: str | None) -> None:
    """Refuse to give many jobs one id: all but one would be duplicates."""
    if own_id is not None:
        raise InvalidJobError(f"id={own_id!r} names one job and cannot be given to many; enqueue them one by one")


def merged(options: JobOptions, given: Options) -> JobOptions:
    """Change options; of `run_at` and `delay_s` the one that is given now replaces the other."""
    changes: dict[str, Any] = {name: value for name, value in given.items() if name not in SENDING_OPTIONS}
    for one, other in (("run_at", "delay_s"), ("delay_s", "run_at")):
        if one in given:
            changes.setdefault(other, None)
    return replace(options, **changes)


@lru_cache(maxsize=4096)
def resolve(task: str | Callable[..., Any]) -> Target:
    """Say what `task`, a registered name or a function made with `@task`, stands for."""
    if isinstance(task, str):
        _check_on_the_wire(repr(task), json.dumps({"task": task}).encode())  # writes what is no UTF-8, to be refused
        return Target(task)
    known: Task | None = task_of(task)
    if known is None:
        raise _no_task(task)
    options = known.options
    signature = inspect.signature(task)
    return Target(
        name=known.name,
        queue=options.queue if options.queue != DEFAULT_QUEUE else None,
        result_ttl_s=options.result_ttl,
        signature=signature,
        fitting=_fitting(signature),
        adapter=_return_adapter(task),
        unique=options.unique,
    )


def build(of: Draft, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Write one message."""
    target = of.target
    if target.signature is not None and (kwargs or len(args) not in target.fitting):
        _check_call(target.name, target.signature, args, kwargs)
    given: dict[str, Any] = {}
    if args:
        given["args"] = args
    if kwargs:
        given["kwargs"] = kwargs
    if not given:
        return of.head + b"}"
    try:
        raw = to_json(given, bytes_mode=BYTES_MODE)
    except (ValueError, RecursionError) as error:  # an unknown type, a circle, text that is not Unicode
        raise InvalidJobError(f"{target.name}: the arguments cannot be written as JSON: {error}") from error
    try:
        refuse_unreadable(raw)
    except ValueError as error:
        raise InvalidJobError(f"{target.name}: {error}") from None
    return of.head + b"," + raw[1:]


def check_queue(queue: object) -> None:
    """Refuse what cannot be a queue's name."""
    if not isinstance(queue, str) or QUEUE_RULE.fullmatch(queue) is None:
        raise InvalidJobError(f"queue: {queue!r:.100} is no queue name: it must match {QUEUE_RULE.pattern}")


def check_job_id(job_id: str) -> None:
    """Refuse what cannot be the id of a job: one that a producer gave, or that of an entry."""
    if not (0 < len(job_id) <= MAX_JOB_ID_CHARS and is_text(job_id)):
        raise InvalidJobError(f"id: {job_id!r:.100} is no job's id: 1 to {MAX_JOB_ID_CHARS} characters of text")


def is_text(word: str) -> bool:
    """Say whether a word can be written as UTF-8; bytes of a command line that are none cannot."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fitting(signature: inspect.Signature) -> range:
    """Count for once what Signature.bind, which takes longer than all else of a message, counts at each call."""
    least = most = 0
    for parameter in signature.parameters.values():
        has_default = parameter.default is not parameter.empty
        match parameter.kind:
            case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD:
                most += 1
                least += not has_default
            case parameter.VAR_POSITIONAL:
                most = sys.maxsize - 1
            case parameter.KEYWORD_ONLY if not has_default:
                return range(0)
    return range(least, most + 1)


def _check_call(name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidJobError(f"{name}{signature}: {error}") from error


def _check_on_the_wire(what: str, raw: bytes) -> None:
    try:
        wire.decode(raw)
    except InvalidMessageError as error:
        raise InvalidJobError(f"{what}: {'; '.join(error.details)}") from error


def _return_adapter(fn: Callable[..., Any]) -> TypeAdapter[Any] | None:
    try:
        annotation = get_type_hints(fn, include_extras=True).get("return", Any)
        return None if any(annotation is plain for plain in _PLAIN) else adapter_of(annotation)
    except Exception as error:  # whatever annotations, and the hooks of the types in them, can raise
        raise InvalidJobError(
            f"{_name_of(fn)}: its return annotation cannot be used ({error}); or enqueue it by name"
        ) from error


def _epoch(option: str, value: datetime | float | None) -> float | None:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise InvalidJobError(f"{option}: {value} has no time zone, so it names no moment; use an aware one")
    return value.timestamp()


def _no_task(task: object) -> InvalidJobError:
    return InvalidJobError(
        f"{_name_of(task)} is not a task: decorate it with @task, or give the registered name as a string"
    )


def _name_of(task: object) -> str:
    return getattr(task, "__qualname__", None) or f"{task!r:.100}"
