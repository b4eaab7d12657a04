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
