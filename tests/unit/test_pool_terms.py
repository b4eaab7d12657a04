"""The terms of calls: what replaces what, and what a chunk gets."""

import sys
from decimal import Decimal
from fractions import Fraction

import pytest

from workd.pool.api.terms import UNLIMITED, Terms, seconds, whole


def test_without_options_nothing_is_limited_and_nothing_is_made() -> None:
    assert Terms(None, None, None) == UNLIMITED
    assert UNLIMITED.changed({}) is UNLIMITED


def test_options_replace_what_they_name() -> None:
    terms = UNLIMITED.changed({"timeout": 3, "memory_limit": 100})
    assert terms == Terms(3, None, 100)
    assert terms.changed({"timeout": None, "soft_timeout": 1}) == Terms(None, 1, 100)


@pytest.mark.parametrize("name", ["timeout", "soft_timeout", "memory_limit"])
@pytest.mark.parametrize("value", [0, -1, -(10**400)])
def test_a_limit_that_stops_everything_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0"):
        UNLIMITED.changed({name: value})  # type: ignore[misc]


@pytest.mark.parametrize("value", [0.0, -0.5, float("nan"), float("-inf"), Decimal(0), Decimal("NaN")])
def test_seconds_that_stop_everything_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0 or None"):
        seconds("timeout", value)


@pytest.mark.parametrize("value", [5, 5.0, Decimal(5), Fraction(5)])
def test_seconds_may_be_any_number_and_become_a_float(value: object) -> None:
    limit_s = seconds("timeout", value)
    assert limit_s == 5.0
    assert type(limit_s) is float


@pytest.mark.parametrize("value", [None, float("inf"), 10**400, Decimal("inf")])
def test_a_time_that_never_comes_is_no_limit(value: object) -> None:
    assert seconds("timeout", value) is None


@pytest.mark.parametrize("value", [None, sys.maxsize, 2**62, 2**70])
def test_a_number_that_is_never_reached_is_no_limit(value: object) -> None:
    assert whole("memory_limit", value) is None
    assert whole("memory_limit", 2**62 - 1) == 2**62 - 1


@pytest.mark.parametrize("value", ["5", b"5", [5], 5j, object()])
@pytest.mark.parametrize("name", ["timeout", "soft_timeout", "memory_limit"])
def test_a_limit_that_is_no_number_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a"):
        UNLIMITED.changed({name: value})  # type: ignore[misc]


@pytest.mark.parametrize("value", [1e9, float("nan"), float("inf"), Decimal(5)])
def test_bytes_are_whole_numbers(value: object) -> None:
    with pytest.raises(TypeError, match="memory_limit must be a whole number or None"):
        whole("memory_limit", value)


def test_the_time_of_a_long_chunk_does_not_overflow() -> None:
    assert Terms(1e308, 1e308).times(10) == UNLIMITED


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="retries"):
        UNLIMITED.changed({"retries": 3})  # type: ignore[typeddict-unknown-key]


def test_a_chunk_gets_the_time_of_all_its_items_and_no_more_memory() -> None:
    assert Terms(2, 1.5, 100).times(10) == Terms(20, 15, 100)
    assert UNLIMITED.times(10) == UNLIMITED
