"""Waiting without a lock that both sides take: no wake-up is lost, and nobody is left in the list."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from workd.pool.api import waiting

if TYPE_CHECKING:
    from workd.pool.api.waiting import Waiters


def test_what_is_there_is_not_waited_for() -> None:
    waiters: Waiters = []
    assert waiting.wait(waiters, lambda: True)
    assert waiters == []


@pytest.mark.parametrize("timeout_s", [0.01, 0.0, -1.0])
def test_a_wait_ends_with_its_time_and_leaves_the_list(timeout_s: float) -> None:
    waiters: Waiters = []
    started = time.monotonic()
    assert not waiting.wait(waiters, lambda: False, timeout_s)
    assert time.monotonic() - started < 5
    assert waiters == []


def test_all_waiting_threads_are_woken() -> None:
    waiters: Waiters = []
    there: list[int] = []
    threads = [threading.Thread(target=waiting.wait, args=(waiters, lambda: there)) for _ in range(5)]
    for thread in threads:
        thread.start()
    waiting.wake(waiters)  # too early: they look, and wait on
    there.append(1)
    waiting.wake(waiters)
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert waiters == []


def test_a_wake_up_between_the_look_and_the_wait_is_not_lost() -> None:
    waiters: Waiters = []
    looks = []

    def looks_twice() -> bool:
        looks.append(len(waiters))
        if len(looks) == 1:
            waiting.wake(waiters)  # it changes just now, and nobody is in the list yet
            return False
        return True

    started = time.monotonic()
    assert waiting.wait(waiters, looks_twice, 20)
    assert time.monotonic() - started < 10
    assert looks[:2] == [0, 1]  # the second look is made from the list, before it waits


def test_an_interrupted_wait_leaves_the_list() -> None:
    waiters: Waiters = []

    def interrupt() -> bool:
        if waiters:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        waiting.wait(waiters, interrupt)
    assert waiters == []


def test_no_wake_up_is_lost_in_a_race() -> None:
    waiters: Waiters = []
    turns = 2000
    done = [0, 0]

    def play(me: int) -> None:
        for turn in range(turns):
            assert waiting.wait(waiters, lambda turn=turn: done[1 - me] >= turn + (me == 1), 20)  # type: ignore[misc]
            done[me] += 1
            waiting.wake(waiters)

    players = [threading.Thread(target=play, args=(me,)) for me in (0, 1)]
    for player in players:
        player.start()
    for player in players:
        player.join(30)
    assert done == [turns, turns]
