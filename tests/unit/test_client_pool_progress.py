"""Counting for RedisPool: what a progress callback is told, and who waits for a place."""

from __future__ import annotations

import threading

import pytest

from support.waiting import eventually
from workd.client.pool_progress import Places, Progress
from workd.client.pool_results import CallbackThread


def nothing(_value: object, _error: BaseException | None) -> None:
    """Take what came."""


def test_each_end_is_counted_and_the_last_word_is_all_of_them() -> None:
    told: list[tuple[int, int | None]] = []
    progress = Progress(CallbackThread(), lambda done, total: told.append((done, total)), [1, 2, 3])
    sinks = [progress.counted(nothing) for _ in range(3)]
    sinks[0](1, None)
    progress.wait_told()
    assert told == [(1, 3)]
    sinks[1](None, KeyError())
    sinks[2](3, None)
    progress.all_sent()
    progress.wait_told()
    assert told[-1] == (3, 3)


def test_a_total_that_is_not_known_is_told_when_it_is() -> None:
    told: list[tuple[int, int | None]] = []
    progress = Progress(CallbackThread(), lambda done, total: told.append((done, total)), iter([1]))
    progress.counted(nothing)(1, None)
    progress.wait_told()
    assert told == [(1, None)]
    progress.all_sent()
    progress.wait_told()
    assert told == [(1, None), (1, 1)]


def test_a_slow_callback_is_told_once_of_all_that_came_meanwhile() -> None:
    entered, go = threading.Event(), threading.Event()
    told: list[int] = []

    def slow(done: int, _total: int | None) -> None:
        told.append(done)
        entered.set()
        assert go.wait(10)

    progress = Progress(CallbackThread(), slow, range(1_000))
    sinks = [progress.counted(nothing) for _ in range(1_000)]
    sinks[0](0, None)
    assert entered.wait(10)
    for sink in sinks[1:]:
        sink(0, None)
    go.set()
    progress.wait_told()
    assert told == [1, 1_000]


def test_without_a_callback_nothing_is_counted_and_nothing_waited_for() -> None:
    progress = Progress(CallbackThread(), None, [1])
    assert progress.counted(nothing) is nothing
    progress.all_sent()
    progress.wait_told()


def test_a_callback_that_waits_for_all_callbacks_does_not_wait_for_itself() -> None:
    callbacks, over = CallbackThread(), threading.Event()

    def wait_for_all(_: object) -> None:
        callbacks.flush()
        over.set()

    callbacks.run(wait_for_all, None)
    assert over.wait(10)


def test_places_are_given_as_far_as_there_are() -> None:
    places = Places(3)
    assert places.take(2) == 2
    assert places.take(500) == 1
    places.give_back(1)
    assert places.take(500) == 1
    assert Places(None).take(500) == 500


def test_who_finds_no_place_waits_for_one() -> None:
    places, taken = Places(1), list[int]()
    assert places.take(1) == 1
    waiter = threading.Thread(target=lambda: taken.append(places.take(1)))
    waiter.start()
    assert taken == []
    places.give_back(1)
    waiter.join(10)
    assert taken == [1]


def test_nobody_waits_for_a_place_that_will_never_be_there() -> None:
    places, taken = Places(1), list[int]()
    assert places.take(1) == 1
    waiter = threading.Thread(target=lambda: taken.append(places.take(1)))
    waiter.start()
    places.close()
    eventually(lambda: taken == [0])
    waiter.join(10)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5])
def test_a_limit_that_cannot_be_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="max_pending"):
        Places(wrong)
