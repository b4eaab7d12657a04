import pytest

from bench.compare.measures import Measure
from bench.compare.pairs import BETTER, NOTHING, WORSE, Compared

MEASURE = Measure("drain", lambda seconds: f"{seconds:g} s")


def compared(other: list[float | None], this: list[float | None]) -> Compared:
    return Compared(MEASURE, other, this)


@pytest.mark.parametrize(
    ("this", "verdict"),
    [
        ([0.5, 0.5, 0.5], BETTER),
        ([2.0, 2.0, 2.0], WORSE),
        ([1.0, 1.0, 1.0], ""),
        ([1.01, 1.01, 1.01], ""),  # too little to be sure of
        ([0.5, 1.0, 2.0], ""),  # the pairs disagree by more than their median differs
    ],
)
def test_a_difference_counts_where_it_is_more_than_the_pairs_spread(this: list[float | None], verdict: str) -> None:
    assert compared([1.0, 1.0, 1.0], this).verdict == verdict


def test_two_pairs_are_too_few_for_a_verdict() -> None:
    assert compared([1.0, 1.0], [9.0, 9.0]).verdict == ""


def test_a_ratio_is_of_pairs_and_not_of_medians() -> None:
    assert compared([1.0, 10.0, 100.0], [2.0, 5.0, 50.0]).ratios == [0.5, 2.0, 2.0]


def test_what_a_revision_lacks_is_shown_as_lacking() -> None:
    line = str(compared([None, None, None], [1.0, 2.0, 3.0]))
    assert line.split() == ["drain", NOTHING, "2", "s", NOTHING, NOTHING]
