import time

import pytest

from workd.clock import Clock


def test_until_a_server_was_asked_the_own_clock_counts() -> None:
    assert Clock().now_s() == pytest.approx(time.time(), abs=0.1)


@pytest.mark.parametrize("offset_s", [-3600.0, 0.0, 86_400.0])
def test_the_servers_time_goes_on_from_when_it_was_told(offset_s: float) -> None:
    clock = Clock()
    clock.set_by((time.time() + offset_s) * 1000)
    assert clock.now_s() == pytest.approx(time.time() + offset_s, abs=0.1)
    clock.set_by(time.time() * 1000)
    assert clock.now_s() == pytest.approx(time.time(), abs=0.1)


def test_an_answer_that_took_long_does_not_set_the_clock_back() -> None:
    clock = Clock()
    clock.set_by((time.time() + 100.0) * 1000)
    asked_at_s, told_ms = time.time() - 5.0, (time.time() + 95.0) * 1000  # right when it was written, read late
    clock.set_by(told_ms, asked_at_s)
    assert clock.now_s() == pytest.approx(time.time() + 100.0, abs=0.1)


@pytest.mark.parametrize(("real_s", "believed_s"), [(40.0, 45.0), (97.0, 100.0), (200.0, 200.0)])
def test_it_moves_as_far_as_the_answer_leaves_no_doubt(real_s: float, believed_s: float) -> None:
    clock = Clock()
    clock.set_by((time.time() + 100.0) * 1000)
    clock.set_by((time.time() + real_s) * 1000, time.time() - 5.0)
    assert clock.now_s() == pytest.approx(time.time() + believed_s, abs=0.1)
