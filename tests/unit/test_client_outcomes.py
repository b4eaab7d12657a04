"""An outcome as a value or an exception."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, TypeAdapter

from workd.client.outcomes import is_about_another, is_of_an_earlier, poll_pauses, value_of
from workd.errors import InvalidResultError, JobCancelledError, JobExpiredError, JobFailedError
from workd.wire import ErrorInfo, Outcome, Status


def outcome(status: Status = Status.SUCCEEDED, value: Any = None, error: ErrorInfo | None = None) -> Outcome:
    return Outcome(
        id="1-0",
        task="square",
        status=status,
        value=value,
        error=error,
        attempts=1,
        deliveries=1,
        enqueued_at=1.0,
        ended_at=2.0,
        daemon="d",
    )


def test_a_name_gives_the_plain_json_value() -> None:
    assert value_of(outcome(value={"a": [1]}), None) == {"a": [1]}


@pytest.mark.parametrize(
    ("annotation", "plain", "value"),
    [
        (datetime, "2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 2], {1, 2}),
        (dict[int, float], {"1": 2.5}, {1: 2.5}),
        (bytes, "abc", b"abc"),
    ],
)
def test_a_function_gives_its_own_types_back(annotation: Any, plain: Any, value: Any) -> None:
    assert value_of(outcome(value=plain), TypeAdapter(annotation)) == value


def test_a_value_that_does_not_fit_is_told_and_not_passed_on() -> None:
    with pytest.raises(InvalidResultError, match="job 1-0") as caught:
        value_of(outcome(value="x"), TypeAdapter(tuple[int, int]))
    assert caught.value.outcome.value == "x"


def test_whatever_a_types_own_validator_raises_is_told_as_a_value_that_does_not_fit() -> None:
    def look_up(value: int) -> str:
        return {1: "one"}[value]

    adapter = TypeAdapter(Annotated[Any, AfterValidator(look_up)])
    assert value_of(outcome(value=1), adapter) == "one"
    with pytest.raises(InvalidResultError, match="KeyError: 13") as caught:
        value_of(outcome(value=13), adapter)
    assert caught.value.outcome.value == 13


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (Status.DEAD, JobFailedError),
        (Status.CANCELLED, JobCancelledError),
        (Status.EXPIRED, JobExpiredError),
    ],
)
def test_every_other_end_is_an_exception_with_its_outcome(
    status: Status, error_type: type[JobFailedError | JobCancelledError | JobExpiredError]
) -> None:
    ended = outcome(status, error=ErrorInfo(type="ValueError", message="no"))
    with pytest.raises(error_type, match="ValueError: no") as caught:
        value_of(ended, None)
    assert vars(caught.value)["outcome"] is ended


@pytest.mark.parametrize(
    ("own_id", "unique", "kind", "expected"),
    [
        (True, False, "duplicate", True),
        (True, True, "duplicate", False),
        (False, False, "duplicate", False),
        (True, False, "cancelled", False),
    ],
)
def test_only_a_duplicate_of_an_own_id_is_about_another_job(
    own_id: bool, unique: bool, kind: str, expected: bool
) -> None:
    ended = outcome(Status.CANCELLED, error=ErrorInfo(type=kind, message=""))
    assert is_about_another(ended, own_id=own_id, unique=unique) is expected


def test_pauses_grow_and_stay_bounded() -> None:
    pauses = list(islice(poll_pauses(), 50))
    assert pauses[0] <= 0.01
    assert pauses == sorted(pauses)
    assert max(pauses) == 0.25


@pytest.mark.parametrize(
    ("entry_id", "earlier"), [("1001-0", True), ("1000-5", False), ("999-0", False), ("", False), ("same", False)]
)
def test_an_outcome_of_an_earlier_job_with_the_id_is_known_by_redis_clock(entry_id: str, earlier: bool) -> None:
    assert is_of_an_earlier(outcome(), entry_id) is earlier
