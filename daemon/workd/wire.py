"""The wire format, version 1: what a message and an outcome look like as JSON bytes, and nothing else.

Owned here: the two models, their JSON Schema, and the way from bytes to model and back. The dispatcher
decodes messages, the worker and the dispatcher write outcomes, clients do the reverse. Nothing here knows
Redis or processes, and nothing here looks at arguments: those are validated in the worker, from the same
bytes, against the signature of the task.

Rules that hold for everything below: JSON only (so no NaN and no Infinity, although many JSON libraries write
them), strict types, unknown fields of a message are an error. A `null` in an optional field means that it is
missing.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from json.encoder import encode_basestring as _quoted
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json

from workd.errors import InvalidMessageError, UnknownVersionError
from workd.steps import ChainPlace, GroupPlace, Steps
from workd_tasks.finite import refuse_non_finite

VERSION: Final = 1
TASK_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$"
REPLY_TO_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
MAX_ID_CHARS: Final = 128
MAX_UNIQUE_CHARS: Final = 256
MAX_META_PAIRS: Final = 64

_MAX_SPAN_S: Final = 10 * 366 * 86_400  # ten years: longer is a wrong unit, and fits every timer there is
_MAX_EPOCH_S: Final = 253_402_300_799  # the end of the year 9999, so epoch milliseconds are refused, not awaited
_MAX_RETRIES: Final = 1_000_000
_MAX_DETAILS: Final = 20
_MAX_LISTED_ERRORS: Final = 200  # listing them costs 2 us each, and a 1 MiB message can have 100,000
_MAX_DETAIL_CHARS: Final = 300
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


class Status(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class DeadReason(StrEnum):
    """Why a job is among the dead letters."""

    INVALID = "invalid"
    UNKNOWN_TASK = "unknown-task"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    TOO_LARGE = "too-large"
    BAD_SIGNATURE = "bad-signature"


def _epoch_seconds(value: object) -> object:
    """Turn an RFC 3339 string into epoch seconds; leave what is none to the float behind it."""
    if not isinstance(value, str):
        return value
    if _RFC_3339.fullmatch(value) is not None:
        try:
            return datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError):
            pass  # the right shape, but there is no such moment: 31 February, 25 o'clock
    kind, message = "wire_time", "should be a time as RFC 3339 with its offset, or as epoch seconds"
    raise PydanticCustomError(kind, message)


EpochSeconds = Annotated[
    float,
    Field(ge=0, le=_MAX_EPOCH_S),
    BeforeValidator(_epoch_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _MAX_EPOCH_S},
                {"type": "string", "format": "date-time"},
            ],
        },
    ),
]
JobId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
TaskName = Annotated[str, Field(pattern=TASK_PATTERN)]
Version = Annotated[int, Field(ge=VERSION, le=VERSION)]
TraceKey = Literal["traceparent", "tracestate"]


class Envelope(BaseModel):
    """One message: which task to run, with what, and under which conditions."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        ser_json_inf_nan="constants",  # written as what they are, so that `encode` can find and refuse them
        title="workd message, version 1",
    )

    task: TaskName = Field(description="name of a registered task")
    args: tuple[Any, ...] = Field(default=(), description="positional arguments")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments by name")
    v: Version = Field(default=VERSION, description="version of this format")
    id: JobId | None = Field(
        default=None,
        description="names the message; a second message with the same id is a duplicate",
    )
    run_at: EpochSeconds | None = Field(default=None, description="not before this time")
    expires_at: EpochSeconds | None = Field(default=None, description="expired if not started by then")
    timeout: Annotated[float, Field(gt=0, le=_MAX_SPAN_S)] | None = Field(
        default=None,
        description="seconds one attempt may take; overrides the task's own",
    )
    soft_timeout: Annotated[float, Field(gt=0, le=_MAX_SPAN_S)] | None = Field(
        default=None,
        description="seconds after which the task is told that its time is up; overrides the task's own",
    )
    start_by: Annotated[float, Field(gt=0, le=_MAX_SPAN_S)] | None = Field(
        default=None,
        description="seconds after it was due within which its first run starts, or it expires; overrides the task's",
    )
    max_retries: Annotated[int, Field(ge=0, le=_MAX_RETRIES)] | None = Field(
        default=None,
        description="further attempts after the first; overrides the task's own",
    )
    unique: Annotated[str, Field(min_length=1, max_length=MAX_UNIQUE_CHARS)] | None = Field(
        default=None,
        description="at most one queued or running message with this key",
    )
    reply_to: Annotated[str, Field(pattern=REPLY_TO_PATTERN)] | None = Field(
        default=None,
        description="name of the reply stream that gets the outcome too",
    )
    result_ttl: Annotated[float, Field(ge=0, le=_MAX_SPAN_S)] | None = Field(
        default=None,
        description="seconds to keep the outcome; 0 keeps none",
    )
    trace: dict[TraceKey, str] | None = Field(default=None, description="W3C trace context")
    meta: Annotated[dict[str, str], Field(max_length=MAX_META_PAIRS)] | None = Field(
        default=None,
        description="carried along and shown, never interpreted",
    )
    group: GroupPlace | None = Field(default=None, description="which member of which group this is")
    then: Steps | None = Field(default=None, description="what runs after it, one step after the other")
    chain: ChainPlace | None = Field(default=None, description="which later step of a chain this is; daemons write it")


class ErrorInfo(BaseModel):
    """What went wrong with a job, in words: nothing in it can be executed or unpickled."""

    model_config = ConfigDict(strict=True, frozen=True)

    type: str = Field(description="the exception's name, with its module unless it is built in")
    message: str
    traceback: str | None = Field(default=None, description="the task's own frames, causes first")
    cause: str | None = Field(default=None, description="what it was raised from, in one line")


class Outcome(BaseModel):
    """How one job ended. Times are epoch seconds; unknown fields are ignored: older clients can read on."""

    model_config = ConfigDict(strict=True, frozen=True, title="workd outcome, version 1")

    v: Version = VERSION
    id: str
    task: str = Field(description='name of the task; "" when the message had none that could be read')
    status: Status
    value: Any = Field(default=None, description="what the task returned, if it succeeded")
    error: ErrorInfo | None = None
    attempts: int = Field(ge=0, description="runs that ended by themselves")
    deliveries: int = Field(ge=0, description="runs that were started, those cut short included")
    enqueued_at: float
    started_at: float | None = Field(default=None, description="start of the last run, if there was one")
    ended_at: float
    daemon: str


_validate_envelope = Envelope.__pydantic_validator__.validate_json
_validate_outcome = Outcome.__pydantic_validator__.validate_json
_envelope_to_json = Envelope.__pydantic_serializer__.to_json


def decode(raw: bytes) -> Envelope:
    """Return the message in `raw`, or raise `InvalidMessageError` or `UnknownVersionError`."""
    try:
        envelope: Envelope = _validate_envelope(raw)
    except ValidationError as error:
        _refuse(raw, error)
    _refuse_non_finite(raw)
    return envelope


def encode(envelope: Envelope) -> bytes:
    """Return the message as JSON, with only the fields that were set.

    Raises `InvalidMessageError` when an argument cannot be written as JSON.
    """
    try:
        raw = _envelope_to_json(envelope, exclude_unset=True, exclude_none=True)
    except ValueError as error:  # pydantic's serialization error is one
        raise InvalidMessageError([_clip(f"arguments of {envelope.task}: {error}")]) from error
    _refuse_non_finite(raw)
    return raw


def decode_outcome(raw: bytes) -> Outcome:
    """Return the outcome in `raw`, or raise `InvalidMessageError` or `UnknownVersionError`."""
    try:
        outcome: Outcome = _validate_outcome(raw)
    except ValidationError as error:
        _refuse(raw, error)
    return outcome


def encode_outcome(  # noqa: PLR0913, PLR0917 (the fields of the format; a model would cost more)
    id: str,
    task: str,
    status: Status,
    value_json: bytes | None,
    error_json: bytes | None,
    attempts: int,
    deliveries: int,
    enqueued_at: float,
    started_at: float | None,
    ended_at: float,
    daemon: str,
) -> bytes:
    """Return an outcome as JSON; `value_json` and `error_json` are JSON already and go in as they are."""
    started = "null" if started_at is None else repr(started_at)
    head = f'{{"v":1,"id":{_quoted(id)},"task":{_quoted(task)},"status":"{status}","value":'
    tail = (
        f',"attempts":{attempts},"deliveries":{deliveries},"enqueued_at":{enqueued_at!r},'
        f'"started_at":{started},"ended_at":{ended_at!r},"daemon":{_quoted(daemon)}}}'
    )
    return b"".join((head.encode(), value_json or b"null", b',"error":', error_json or b"null", tail.encode()))


def encode_error(error: ErrorInfo) -> bytes:
    """Return an error as JSON, ready for `encode_outcome` and for the dead letters."""
    return error.__pydantic_serializer__.to_json(error)


def envelope_schema() -> dict[str, Any]:
    """Return the JSON Schema of a message."""
    return Envelope.model_json_schema()


def outcome_schema() -> dict[str, Any]:
    """Return the JSON Schema of an outcome."""
    return Outcome.model_json_schema(mode="serialization")


def _refuse_non_finite(raw: bytes) -> None:
    try:
        refuse_non_finite(raw)
    except ValueError as error:
        raise InvalidMessageError([str(error)]) from None


def _refuse(raw: bytes, error: ValidationError) -> NoReturn:
    """Say why `raw` was refused: its version first, since the fields of another are not ours to judge."""
    version = _version_of(raw)
    if version is not None and version != VERSION:
        raise UnknownVersionError(version) from None
    raise InvalidMessageError(describe(error)) from None


def _version_of(raw: bytes) -> int | None:
    try:
        message = from_json(raw)
    except ValueError:
        return None
    version = message.get("v") if isinstance(message, dict) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else None


def describe(error: ValidationError) -> list[str]:
    """Return one `path: what is wrong` per error, without the input: that may be large, or secret."""
    count = error.error_count()
    if count > _MAX_LISTED_ERRORS:
        return [f"{count} errors, too many to list"]
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    details = [_clip(_one_line(e["loc"], e["msg"])) for e in errors[:_MAX_DETAILS]]
    return details if count <= _MAX_DETAILS else [*details, f"and {count - _MAX_DETAILS} more"]


def _one_line(path: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join(map(str, path))}: {message}" if path else message


def _clip(text: str) -> str:
    return text if len(text) <= _MAX_DETAIL_CHARS else text[: _MAX_DETAIL_CHARS - 1] + "…"
