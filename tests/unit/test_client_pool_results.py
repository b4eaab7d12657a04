"""What RedisPool's methods return, filled by hand."""

import gc
import multiprocessing
import queue
import threading
import time

import pytest

from workd.client.pool_results import Arrivals, AsyncResult, CallbackThread, MapResult, Shelf


@pytest.fixture
def callbacks() -> CallbackThread:
    return CallbackThread()


def test_a_result_is_not_ready_until_it_has_ended(callbacks: CallbackThread) -> None:
    result: AsyncResult[int] = AsyncResult(callbacks)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0)
    with pytest.raises(TimeoutError):
        result.get(timeout=0)
    result.end(16, None)
    assert (result.ready(), result.successful(), result.get()) == (True, True, 16)


def test_an_error_is_raised_by_get(callbacks: CallbackThread) -> None:
    result: AsyncResult[int] = AsyncResult(callbacks)
    result.end(None, KeyError("x"))
    assert not result.successful()
    with pytest.raises(KeyError):
        result.get()


def test_callbacks_run_in_their_own_thread_and_one_that_fails_stops_no_other(
    callbacks: CallbackThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))
    got: list[object] = []
    AsyncResult[int](callbacks, lambda _: 1 / 0).end(1, None)
    AsyncResult[int](callbacks, lambda v: got.append((v, threading.current_thread().name))).end(2, None)
    AsyncResult[int](callbacks, None, got.append).end(None, KeyError())
    callbacks.stop(join=True)
    assert reported == [ZeroDivisionError]
    assert got[0] == (2, "workd-callbacks")
    assert isinstance(got[1], KeyError)


def test_stopping_callbacks_is_safe_twice_and_before_the_first(callbacks: CallbackThread) -> None:
    callbacks.stop(join=True)
    callbacks.run(print, "")
    callbacks.stop(join=True)
    callbacks.stop(join=True)


def test_a_map_gives_its_values_in_the_order_of_places(callbacks: CallbackThread) -> None:
    result = MapResult[str](callbacks).begin()
    first, second = result.place(0), result.place(1)
    second("b", None)
    result.no_more()
    assert not result.ready()
    first("a", None)
    assert result.get(timeout=0) == ["a", "b"]


def test_a_map_of_nothing_is_an_empty_list(callbacks: CallbackThread) -> None:
    result = MapResult[str](callbacks).begin()
    result.no_more()
    assert result.get(timeout=0) == []


def test_a_map_ends_with_its_first_error_once_all_have_ended(callbacks: CallbackThread) -> None:
    result = MapResult[str](callbacks).begin()
    ends = [result.place(index) for index in range(3)]
    result.no_more()
    ends[1]("", KeyError("first"))
    ends[0]("", ValueError("second"))
    assert not result.ready()
    ends[2]("c", None)
    with pytest.raises(KeyError):
        result.get(timeout=0)


def test_ordered_arrivals_wait_for_their_turn() -> None:
    shelf: Shelf[str] = Shelf(10, ordered=True)
    arrivals = Arrivals(shelf, None)
    first, second = shelf.place(0), shelf.place(1)
    shelf.no_more()
    second("b", None)
    with pytest.raises(multiprocessing.TimeoutError):
        arrivals.next(timeout=0)
    first("a", None)
    assert list(arrivals) == ["a", "b"]


def test_unordered_arrivals_come_as_they_are() -> None:
    shelf: Shelf[str] = Shelf(10, ordered=False)
    arrivals = Arrivals(shelf, None)
    first, second = shelf.place(0), shelf.place(1)
    second("b", None)
    assert next(arrivals) == "b"
    shelf.no_more()
    first("a", None)
    assert list(arrivals) == ["a"]


def test_one_that_failed_raises_in_its_place_and_the_rest_goes_on() -> None:
    shelf: Shelf[str] = Shelf(10, ordered=True)
    arrivals = Arrivals(shelf, None)
    first, second = shelf.place(0), shelf.place(1)
    shelf.no_more()
    first(None, KeyError())
    second("b", None)
    with pytest.raises(KeyError):
        next(arrivals)
    assert list(arrivals) == ["b"]


def test_a_feeder_that_fails_says_so_after_all_that_was_fed() -> None:
    shelf: Shelf[str] = Shelf(10, ordered=True)
    arrivals = Arrivals(shelf, None)
    shelf.place(0)("a", None)
    shelf.no_more(ValueError("the iterable"))
    assert next(arrivals) == "a"
    with pytest.raises(ValueError, match="the iterable"):
        next(arrivals)
    with pytest.raises(StopIteration):
        next(arrivals)


def test_a_feeder_waits_for_room_and_is_let_go_at_the_end() -> None:
    shelf: Shelf[str] = Shelf(1, ordered=True)
    arrivals = Arrivals(shelf, None)
    assert shelf.make_room(1)
    shelf.place(0)("a", None)
    let_go: list[bool] = []
    feeder = threading.Thread(target=lambda: let_go.append(shelf.make_room(1)))
    feeder.start()
    time.sleep(0.02)
    assert let_go == []
    assert next(arrivals) == "a"
    feeder.join()
    assert let_go == [True]
    shelf.place(1)
    shelf.no_more()
    assert not shelf.make_room(1)


def test_the_thread_of_a_pool_that_was_dropped_ends() -> None:
    callbacks, ran_in = CallbackThread(), queue.SimpleQueue[threading.Thread]()
    callbacks.run(lambda _: ran_in.put(threading.current_thread()), None)
    thread = ran_in.get(timeout=20)
    del callbacks
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
