import pytest
from hypothesis import given
from hypothesis import strategies as st

from workd.pool import balance
from workd.pool.balance import MAX_DEPTH, UNKNOWN_COST_S, WINDOW_S, Costs, room

SECONDS = st.floats(1e-6, 1000)


def test_what_is_not_known_counts_as_slow() -> None:
    costs = Costs()
    assert costs.of("new") == UNKNOWN_COST_S
    assert costs.mean_s == UNKNOWN_COST_S


def test_one_run_is_believed_and_further_ones_move_the_estimate() -> None:
    costs = Costs()
    costs.learn("square", 0.001)
    assert costs.of("square") == 0.001
    costs.learn("square", 1.0)
    assert 0.001 < costs.of("square") < 1.0
    assert costs.of("other") == UNKNOWN_COST_S


@given(st.lists(st.tuples(st.sampled_from("abc"), SECONDS), min_size=1))
def test_an_estimate_stays_within_what_was_measured(runs: list[tuple[str, float]]) -> None:
    costs = Costs()
    for task, run_s in runs:
        costs.learn(task, run_s)
    for task in {task for task, _ in runs}:
        seen = [run_s for name, run_s in runs if name == task]
        assert min(seen) * 0.999 <= costs.of(task) <= max(seen) * 1.001
    everything = [run_s for _, run_s in runs]
    assert min(everything) * 0.999 <= costs.mean_s <= max(everything) * 1.001


def test_a_clock_that_was_set_back_gives_no_negative_cost() -> None:
    costs = Costs()
    costs.learn("square", -5.0)
    assert costs.of("square") > 0


def test_names_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "_MAX_TASKS", 10)
    costs = Costs()
    for number in range(1000):
        costs.learn(str(number), 0.1)
    assert len(costs._by_task) <= 10


@given(st.integers(0, MAX_DEPTH * 2), st.floats(0, 10), SECONDS)
def test_an_empty_slot_takes_one_whatever_it_costs_and_none_takes_more_than_the_socket_holds(
    held: int, load_s: float, mean_s: float
) -> None:
    more = room(held, load_s, mean_s)
    assert more >= (0 if held else 1)
    assert held + more <= max(held, MAX_DEPTH)
    if held and load_s >= WINDOW_S:
        assert more == 0


def test_depth_is_one_for_slow_tasks_and_large_for_quick_ones() -> None:
    assert room(0, 0.0, UNKNOWN_COST_S) == 1
    assert room(0, 0.0, 0.0001) == 251
    assert room(0, 0.0, 0.00001) == MAX_DEPTH
