import pytest

from workd.rates import WINDOW_S, Rate


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_s() == 0
    for second in range(20):
        rate.note(second, min(second, 10) * 100)
        if 1 <= second <= 10:
            assert rate.per_s() == pytest.approx(100)
    assert rate.per_s() == 0, f"nothing came for {WINDOW_S} s"


def test_looks_that_come_soon_after_another_do_not_make_the_rate_jump() -> None:
    rate = Rate()
    rate.note(0.0, 0)
    rate.note(0.001, 100)
    assert rate.per_s() == 0
    rate.note(1.0, 100)
    assert rate.per_s() == pytest.approx(100)
