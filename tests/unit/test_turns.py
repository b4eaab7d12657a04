"""Which queue is read when, and how often: with a fake clock and queues that are numbers."""

from __future__ import annotations

from collections import Counter

import pytest

from workd.broker.turns import PATIENCE_S, PROBE_S, Read, Turns


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Fleet:
    """Queues with so many jobs each, read as the fetcher reads."""

    def __init__(self, weights: dict[str, int] | None = None, **jobs: int) -> None:
        self.clock = Clock()
        self.turns = Turns(weights, self.clock)
        self.jobs = Counter(jobs)
        self.queues = list(jobs)
        self.commands = 0

    def turn(self, count: int) -> dict[str, int]:
        """Return what one turn brings."""
        got: Counter[str] = Counter()
        self.turns.serve(self.queues)
        wait_for_all = [Read(self.queues, max(1, count // len(self.queues)))]
        at_once = len(self.queues) > 1 and not self.turns.all_empty(self.queues)
        for read in self.turns.reads(self.queues, lambda: count - got.total()) if at_once else wait_for_all:
            self.commands += 1
            brought = {queue: min(read.most, self.jobs[queue]) for queue in read.queues}
            self.turns.note(read, brought)
            self.jobs.subtract(brought)
            got.update(brought)
        return {queue: number for queue, number in got.items() if number}


def test_in_strict_order_an_earlier_queue_is_emptied_first() -> None:
    fleet = Fleet(a=5, b=3, c=9)
    assert [fleet.turn(4) for _ in range(5)] == [{"a": 4}, {"a": 1, "b": 3}, {"c": 4}, {"c": 4}, {"c": 1}]


def test_in_strict_order_a_later_queue_gets_one_job_when_it_has_waited_long() -> None:
    fleet = Fleet(a=10_000, b=10, c=0)
    assert [fleet.turn(4) for _ in range(3)] == [{"a": 4}] * 3
    fleet.clock.now_s += PATIENCE_S + 0.1
    assert fleet.turn(4) == {"a": 3, "b": 1}
    assert fleet.turn(4) == {"a": 4}
    fleet.jobs["c"] = 1  # it was found empty, and is asked again all the same
    fleet.clock.now_s += PATIENCE_S + 0.1
    assert fleet.turn(4) == {"a": 2, "b": 1, "c": 1}


def test_what_arrives_in_an_earlier_queue_goes_first_at_once() -> None:
    fleet = Fleet(a=0, b=1_000)
    assert fleet.turn(4) == {"b": 4}
    fleet.jobs["a"] = 2
    assert fleet.turn(4) == {"a": 2, "b": 2}


def test_weights_are_shares_over_time_whatever_the_size_of_a_turn() -> None:
    for count in (1, 2, 7, 50):
        fleet = Fleet({"a": 6, "b": 3}, a=10**6, b=10**6, c=10**6)
        got: Counter[str] = Counter()
        while got.total() < 5_000:
            got.update(fleet.turn(count))
        assert got["a"] == pytest.approx(3_000, abs=2 * count + 6)
        assert got["b"] == pytest.approx(1_500, abs=2 * count + 3)
        assert got["c"] == pytest.approx(500, abs=2 * count + 1)


def test_weights_go_smoothly_one_by_one() -> None:
    fleet = Fleet({"a": 2, "b": 1}, a=100, b=100)
    turns = [next(iter(fleet.turn(1))) for _ in range(30)]
    assert all(turns[first : first + 3].count("b") == 1 for first in range(0, 30, 3))


def test_a_queue_that_was_empty_has_saved_nothing_up() -> None:
    fleet = Fleet({"a": 1, "b": 1}, a=10**6, b=0)
    for _ in range(100):
        fleet.turn(10)
    fleet.jobs["b"] = 10**6
    fleet.clock.now_s += 2 * PROBE_S
    got: Counter[str] = Counter()
    for _ in range(20):
        got.update(fleet.turn(10))
    assert abs(got["a"] - got["b"]) <= 20


@pytest.mark.parametrize("weights", [None, {"q0": 5}])
def test_a_turn_costs_no_more_with_many_empty_queues(weights: dict[str, int] | None) -> None:
    fleet = Fleet(weights, **{f"q{number}": 0 for number in range(50)} | {"q25": 10**6})
    fleet.turn(10)  # all are asked once
    fleet.commands = 0
    for _ in range(100):
        fleet.clock.now_s += 0.001
        assert fleet.turn(10).get("q25", 0) == 10
    assert fleet.commands <= 200


@pytest.mark.parametrize("weights", [None, {"a": 3}])
def test_nothing_is_left_out_when_all_have_something(weights: dict[str, int] | None) -> None:
    fleet = Fleet(weights, a=3, b=3, c=3)
    assert fleet.turn(100) == {"a": 3, "b": 3, "c": 3}
    assert fleet.turns.all_empty(fleet.queues)
    fleet.jobs.update({"a": 1, "b": 1, "c": 1})
    got: Counter[str] = Counter()
    for _ in range(3):
        fleet.clock.now_s += PROBE_S
        got.update(fleet.turn(3))
    assert got == {"a": 1, "b": 1, "c": 1}


def test_a_queue_that_was_paused_has_saved_nothing_up() -> None:
    fleet = Fleet({"a": 1, "b": 1}, a=10**6, b=10**6)
    fleet.turn(10)
    fleet.queues.remove("b")  # paused, with jobs in it
    for _ in range(1_000):
        fleet.turn(10)
    fleet.queues.append("b")
    got: Counter[str] = Counter()
    for _ in range(20):
        fleet.clock.now_s += PROBE_S
        got.update(fleet.turn(10))
    assert abs(got["a"] - got["b"]) <= 20


def test_a_queue_that_was_paused_from_the_start_has_saved_nothing_up() -> None:
    fleet = Fleet({"a": 1, "b": 1}, a=10**6, b=10**6)
    fleet.queues.remove("b")
    for _ in range(1_000):
        fleet.turn(10)
    fleet.queues.append("b")
    got: Counter[str] = Counter()
    for _ in range(20):
        fleet.clock.now_s += PROBE_S
        got.update(fleet.turn(10))
    assert abs(got["a"] - got["b"]) <= 20


def test_a_queue_that_got_its_jobs_one_by_one_owes_nobody_anything() -> None:
    fleet = Fleet({"a": 1, "b": 1}, a=0, b=0)
    for _ in range(1_000):
        fleet.jobs["a"] = 1
        fleet.turn(10)
    fleet.jobs.update({"a": 10**6, "b": 10**6})
    got: Counter[str] = Counter()
    for _ in range(20):
        fleet.clock.now_s += PROBE_S
        got.update(fleet.turn(10))
    assert abs(got["a"] - got["b"]) <= 20
