"""Warnings that say the same again and again."""

from typing import Any

import pytest

from workd.output.repeats import FREE, MOST, PERIOD_S, Repeats


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def repeats(clock: list[float]) -> Repeats:
    return Repeats(lambda: clock[0])


def say(repeats: Repeats, text: str = "dead letter", level: str = "warning", **facts: Any) -> dict[str, Any] | None:
    """Return the line as it is written, if it is."""
    event = {"event": text, **facts}
    return event if repeats.admit(level, event) else None


def test_the_first_few_are_written_then_one_in_a_while_with_the_number_of_those_left_out(
    repeats: Repeats, clock: list[float]
) -> None:
    assert all(say(repeats, job_id=str(number)) for number in range(FREE))
    assert not any(say(repeats) for _ in range(7))
    clock[0] += PERIOD_S
    assert say(repeats) == {"event": "dead letter", "repeated": 7}
    assert say(repeats) is None
    clock[0] += PERIOD_S
    assert say(repeats) == {"event": "dead letter", "repeated": 1}


def test_after_a_quiet_while_the_first_few_are_free_again(repeats: Repeats, clock: list[float]) -> None:
    for _ in range(FREE):
        say(repeats)
    clock[0] += PERIOD_S
    assert [say(repeats) for _ in range(FREE)] == [{"event": "dead letter"}] * FREE


def test_one_event_of_several_tasks_or_queues_is_not_the_same(repeats: Repeats) -> None:
    for _ in range(FREE + 5):
        say(repeats, task="a", queue="q")
    assert say(repeats, task="a", queue="q") is None
    assert say(repeats, task="b", queue="q")
    assert say(repeats, task="a", queue="r")
    assert say(repeats, "another event", task="a", queue="q")
    assert say(repeats, level="error", task="a", queue="q")
    assert say(repeats, task="a", queue="q", error="another reason")


def test_numbers_tell_nothing_apart(repeats: Repeats) -> None:
    said = [say(repeats, error=f"no file /spool/{number}.png") for number in range(FREE + 5)]
    assert said.count(None) == 5


def test_only_warnings_and_errors_are_limited(repeats: Repeats) -> None:
    for level in ("debug", "info", "critical"):
        assert all(say(repeats, level=level) for _ in range(10 * FREE))


def test_none_is_left_out_for_good(repeats: Repeats, clock: list[float]) -> None:
    for number in range(FREE + 3):
        say(repeats, job_id=str(number), exc_info=ValueError("with a traceback that would live on"))
    assert repeats.is_holding
    assert repeats.overdue() == []
    clock[0] += PERIOD_S
    assert repeats.overdue() == [("warning", {"event": "dead letter", "job_id": str(FREE + 2), "repeated": 2})]
    assert repeats.overdue() == []
    say(repeats, job_id="last")
    assert repeats.overdue(all_of_them=True) == [("warning", {"event": "dead letter", "job_id": "last"})]


def test_what_is_remembered_has_a_bound_and_what_is_forgotten_is_told(repeats: Repeats) -> None:
    for _ in range(FREE + 2):
        say(repeats, "first")
    told = []
    for number in range(MOST):
        say(repeats, "event " + chr(97 + number // 26) + chr(97 + number % 26))
        told += repeats.crowded_out()
    assert told == [("warning", {"event": "first", "repeated": 1})]
    assert len(repeats._seen) == MOST
