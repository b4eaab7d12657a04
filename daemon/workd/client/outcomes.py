"""An outcome as the value or the exception that people get.

Called by the handles and by RedisPool's results. Pure: no I/O, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Never

from pydantic import ValidationError
from pydantic_core import to_json

from workd.errors import ClientError, InvalidResultError, JobCancelledError, JobExpiredError, JobFailedError
from workd.wire import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import TypeAdapter

JobState = Literal["succeeded", "dead", "cancelled", "expired", "running", "queued", "unknown"]
CancelState = Literal["cancelled", "asked", "ended", "unknown"]

CLOSED_AGAIN_S = 1.0
"""How often who waits for a reply asks, and asks nobody but his own client, whether that still reads replies."""
LEAST_LOOK_S = 0.5
"""How long a look at `result:<id>` may take, however little time is left: with none left, it is the only one."""
_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.25


def value_of(outcome: Outcome, adapter: TypeAdapter[Any] | None) -> Any:
    """Return what the task returned, or raise what else became of it.

    The value is validated as the JSON that it came as: in JSON mode a string may be a datetime, in Python
    mode it is not. Whatever a type's own validators raise is told as what it is: that the value does not fit.
    """
    if outcome.status is not Status.SUCCEEDED:
        _raise(outcome)
    if adapter is None:
        return outcome.value
    try:
        return adapter.validate_json(to_json(outcome.value))
    except ValidationError as error:
        raise InvalidResultError(outcome, str(error).replace("\n", " ")) from error
    except Exception as error:  # pydantic lets all but ValueError and AssertionError of people's validators through
        raise InvalidResultError(outcome, f"{type(error).__name__}: {error}") from error


def value_or_error(outcome: Outcome, adapter: TypeAdapter[Any] | None) -> tuple[Any, ClientError | None]:
    """Return what `value_of` returns, or what it raises."""
    try:
        return value_of(outcome, adapter), None
    except ClientError as error:
        return None, error


def _raise(outcome: Outcome) -> Never:
    match outcome.status:
        case Status.CANCELLED:
            raise JobCancelledError(outcome)
        case Status.EXPIRED:
            raise JobExpiredError(outcome)
        case _:
            raise JobFailedError(outcome)


def is_about_another(outcome: Outcome, *, own_id: bool, unique: bool) -> bool:
    """Say whether a reply only tells that a job of the same id had been there before.

    Then the first one's outcome, in `result:<id>`, is the job's: that is what makes it harmless to enqueue
    twice with one id. With `unique` the key may have been some other job's, and then this is all that will
    come.
    """
    error = outcome.error
    duplicate = outcome.status is Status.CANCELLED and error is not None and error.type == "duplicate"
    return duplicate and own_id and not unique


def is_of_an_earlier(outcome: Outcome, entry_id: str) -> bool:
    """Say whether an outcome is that of a job which had the id before this message came; Redis's clock dates both."""
    entry_ms = entry_id.partition("-")[0]
    return entry_ms.isdigit() and round(outcome.enqueued_at * 1000) < int(entry_ms)


def poll_pauses() -> Iterator[float]:
    """Yield the pauses in seconds between two looks at `result:<id>`, where no reply is sure to come."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
