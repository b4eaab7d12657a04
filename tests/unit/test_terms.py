"""What a task's options mean for its jobs: the terms, and how the intake applies them."""

import json
from typing import Any

import pytest

from support.flying import entry
from workd import retry
from workd.flights import Flight
from workd.intake import Limits, Reader
from workd.pool.slot import Job
from workd.retry import Counters
from workd.terms import Extras, Terms, too_late, without_room
from workd_tasks.options import read_options

NOW_S = 1000.0
ENQUEUED_MS = 900_000


def read(message: dict[str, Any], parameters: tuple[str, ...] = (), **options: Any) -> Flight:
    """Read a message of a task with these options, as the intake does."""
    facts = read_options("t", options).as_dict() | {"parameters": list(parameters)}
    raw = json.dumps({"task": "t"} | message).encode()
    flight, event = Reader(Limits(), {"t": facts}, lambda: NOW_S).read(entry(message=raw, enqueued_ms=ENQUEUED_MS))
    assert event is None
    return flight


def job_of(flight: Flight) -> Job:
    job = Job(1, b"", "t", flight.timeout_s)
    if flight.extras is not None:
        flight.extras.impose(job)
    return job


def test_a_task_without_such_options_has_no_extras() -> None:
    assert (
        Terms.of(read_options("t", {"timeout": 3, "max_retries": 1, "max_crashes": 2}).as_dict(), Limits()).extras
        is None
    )
    assert read({}).extras is None


def test_the_daemons_limits_hold_where_the_task_sets_none() -> None:
    limits = Limits(timeout_s=7, max_crashes=9)
    terms = Terms.of({}, limits)
    assert (terms.timeout_s, terms.policy.max_crashes, terms.policy.jitter) == (7, 9, True)
    own = Terms.of(read_options("t", {"timeout": 3, "max_crashes": 1, "jitter": False}).as_dict(), limits)
    assert (own.timeout_s, own.policy.max_crashes, own.policy.jitter) == (3, 1, False)


def test_soft_timeout_and_memory_limit_are_the_jobs() -> None:
    job = job_of(read({}, soft_timeout=2, timeout=5, memory_limit="64M"))
    assert (job.timeout_s, job.soft_timeout_s, job.memory_limit_bytes) == (5, 2, 64 * 2**20)
    assert job_of(read({"timeout": 1.5}, soft_timeout=2)).soft_timeout_s is None


def test_what_the_message_says_of_its_soft_timeout_and_start_counts_more_than_the_task() -> None:
    extras = read({"soft_timeout": 1, "start_by": 5}, soft_timeout=3, start_by=50, memory_limit="64M").extras
    assert extras == Extras(soft_timeout_s=1, start_by_s=5, memory_limit_bytes=64 * 2**20)
    assert read({"soft_timeout": 1}).extras == Extras(soft_timeout_s=1)
    assert lateness(read({"start_by": 5}), 905) == "NotStartedInTime"


# ── too late ──


def lateness(flight: Flight, now_s: float) -> str | None:
    assert flight.extras is not None
    found = flight.extras.lateness(flight, now_s)
    return None if found is None else found.type


def test_a_job_expires_so_long_after_its_enqueue() -> None:
    flight = read({}, expires=10)
    assert lateness(flight, 909.9) is None
    assert lateness(flight, 910) == "Expired"


def test_the_spans_of_a_scheduled_job_count_from_when_it_was_due() -> None:
    assert lateness(read({"run_at": 2000}, expires=10), 2009.9) is None
    assert lateness(read({"run_at": 2000}, start_by=10), 2010) == "NotStartedInTime"


def test_what_the_message_says_of_its_expiry_counts_more_than_the_task() -> None:
    assert lateness(read({"expires_at": 5000}, expires=10), 4000) is None


@pytest.mark.parametrize(
    "started", [Counters(attempts=1), Counters(crashes=1), Counters(takeovers=1), Counters(handbacks=1)]
)
def test_a_job_that_has_been_started_has_met_its_start_by(started: Counters) -> None:
    flight = read({}, start_by=10, expires=50)
    assert lateness(flight, 920) == "NotStartedInTime"
    flight.entry = flight.entry._replace(counters=started)
    assert lateness(flight, 920) is None
    assert lateness(flight, 950) == "Expired"


# ── unique ──


def key(message: dict[str, Any], *parameters: str) -> str | None:
    envelope = read(message, parameters, unique=True).envelope
    assert envelope is not None
    return envelope.unique


def test_equal_arguments_have_one_key_however_they_are_written() -> None:
    assert key({"args": [1, {"a": 1, "b": 2}]}) == key({"args": [1, {"b": 2, "a": 1}]})
    assert key({"args": [1], "kwargs": {"b": 2}}, "a", "b") == key({"kwargs": {"b": 2, "a": 1}}, "a", "b")
    assert key({"args": [1, 2, 3]}, "a") != key({"args": [1, 2, 4]}, "a")


def test_other_arguments_have_other_keys() -> None:
    messages: list[dict[str, Any]] = [{}, {"args": [1]}, {"args": ["1"]}, {"args": [[1]]}, {"kwargs": {"a": 1}}]
    assert len({key(message) for message in messages}) == len(messages)


def test_the_key_names_the_task_and_fits_on_the_wire() -> None:
    found = key({"args": ["x" * 1000]})
    assert found is not None
    assert found.startswith("t:")
    assert len(found) < 128


def test_a_key_of_the_messages_own_counts_more() -> None:
    assert key({"unique": "mine", "args": [1]}) == "mine"


def test_the_arguments_of_a_long_message_count_too() -> None:
    long = "x" * 50_000
    assert key({"args": [long, 1]}) != key({"args": [long, 2]})
    assert key({"kwargs": {"a": long, "b": 1}}) != key({"kwargs": {"a": long, "b": 2}})
    assert key({"args": [long, 1]}, "a", "b") == key({"kwargs": {"b": 1, "a": long}}, "a", "b")


def test_a_long_message_whose_arguments_are_no_json_is_refused() -> None:
    raw = b'{"task":"t","args":["' + b"x" * 50_000 + b'" 1]}'
    catalogue = {"t": read_options("t", {"unique": True}).as_dict()}
    _, event = Reader(Limits(), catalogue, lambda: NOW_S).read(entry(message=raw))
    assert isinstance(event, retry.Refused)
    assert "JSON" in event.error.message


def test_a_job_without_a_message_is_never_late() -> None:
    assert Extras(expires_s=1).lateness(Flight(entry(message=None), "1-0"), NOW_S) is None


@pytest.mark.parametrize(("daemon_limit", "tight"), [(0, ["small"]), (29, ["large", "none", "small"]), (31, ["small"])])
def test_a_memory_limit_below_what_a_worker_has_already_is_found(daemon_limit: int, tight: list[str]) -> None:
    catalogue: dict[str, dict[str, int | None]] = {
        "large": {"memory_limit": 99},
        "small": {"memory_limit": 30},
        "none": {"memory_limit": None},
    }
    assert without_room(catalogue, daemon_limit, worker_bytes=30) == tight
    assert without_room(catalogue, daemon_limit, worker_bytes=0) == []


@pytest.mark.parametrize(("daemon_timeout_s", "late"), [(3600.0, []), (20.0, ["equal"]), (19.0, ["alone", "equal"])])
def test_a_soft_timeout_that_the_daemons_timeout_comes_before_is_found(
    daemon_timeout_s: float, late: list[str]
) -> None:
    catalogue: dict[str, dict[str, float | None]] = {
        "alone": {"soft_timeout": 19.5, "timeout": None},
        "equal": {"soft_timeout": 20.0, "timeout": None},
        "with its own": {"soft_timeout": 20.0, "timeout": 30.0},
        "none": {"soft_timeout": None, "timeout": None},
    }
    assert too_late(catalogue, daemon_timeout_s) == late
