"""`workd.Pool`: single calls and their results, as somebody uses them who comes from `multiprocessing.Pool`."""

import functools
import multiprocessing
import multiprocessing.pool
import pickle
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

from support.calls import (
    FrozenError,
    Multiplier,
    PretendingError,
    Refusing,
    add,
    die,
    fail,
    fail_unpicklably,
    fail_with,
    is_same,
    leave,
    make_lock,
    same,
    sleep,
    square,
)
from workd import Pool
from workd.errors import WorkerDiedError

if TYPE_CHECKING:
    from workd.pool.api.results import AsyncResult


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool


# ── values ──


def test_apply_takes_keywords(pool: Pool) -> None:
    assert pool.apply(add, (1,), {"y": 2}) == 3
    assert pool.apply(add, [1, 2]) == 3  # any iterable of arguments


def test_all_workers_are_used(pool: Pool) -> None:
    results = [pool.apply_async(sleep, (2.0,)) for _ in range(2)]
    started = time.monotonic()
    assert [result.get(20) for result in results] == [2.0, 2.0]
    assert time.monotonic() - started < 3.9


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (square, (7,)),
        (abs, (-7,)),
        (int, ("7",)),
        (functools.partial(add, y=5), (7,)),
        (Multiplier(3), (7,)),
        (Multiplier(3).times, (7,)),
        (Multiplier.times, (Multiplier(2), 7)),
        ("text".join, (["a", "b"],)),
    ],
)
def test_whatever_pickles_can_be_called(pool: Pool, function: Callable[..., object], arguments: Any) -> None:
    assert pool.apply(function, arguments) == function(*arguments)
    assert pool.apply(function, arguments) == function(*arguments)  # the worker knows it by now


def test_a_state_is_sent_with_each_call(pool: Pool) -> None:
    multiplier = Multiplier(1)
    assert pool.apply(multiplier, (5,)) == 5
    multiplier.factor = 10
    assert pool.apply(multiplier, (5,)) == 50


def test_what_function_and_arguments_share_stays_one_object(pool: Pool) -> None:
    shared = [1]
    assert pool.apply(functools.partial(is_same, shared), (shared,))


def test_what_multiprocessing_alone_can_pickle_travels_there_and_back(pool: Pool) -> None:
    one, other = socket.socketpair()
    with one, other, pool.apply(same, (other,)) as back:
        one.sendall(b"through the worker")
        assert back.recv(100) == b"through the worker"


# ── results ──


def test_ready_successful_and_get_with_a_timeout_behave_like_the_standard_librarys(pool: Pool) -> None:
    result = pool.apply_async(sleep, (0.3,))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(-1)
    result.wait(0.01)
    assert not result.ready()
    assert result.get() == 0.3
    assert result.successful()


def test_a_value_is_the_same_object_each_time(pool: Pool) -> None:
    result = pool.apply_async(same, ([1],))
    assert result.get(20) is result.get(20)


def test_several_threads_may_wait_for_one_result(pool: Pool) -> None:
    result = pool.apply_async(sleep, (0.2,))
    values: list[float] = []
    threads = [threading.Thread(target=lambda: values.append(result.get(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert values == [0.2] * 8


def test_a_callback_gets_the_value_and_an_error_callback_the_exception(pool: Pool) -> None:
    values: list[object] = []
    pool.apply_async(square, (3,), callback=values.append, error_callback=values.append).get(20)
    failed = pool.apply_async(fail, ("x",), callback=values.append, error_callback=values.append)
    failed.wait(5)
    assert values[0] == 9
    assert isinstance(values[1], LookupError)
    assert failed.ready()
    assert not failed.successful()


def test_a_callback_has_been_called_when_the_result_is_ready(pool: Pool) -> None:
    called = []

    def call_slowly(value: int) -> None:
        time.sleep(0.1)
        called.append(value)

    assert pool.apply_async(square, (3,), callback=call_slowly).get(20) == 9
    assert called == [9]


def test_all_callbacks_come_from_one_thread_that_is_not_the_callers(pool: Pool) -> None:
    threads = []
    results = [
        pool.apply_async(square, (n,), callback=lambda _: threads.append(threading.current_thread())) for n in range(20)
    ]
    results[0].get(20)
    for result in results:
        result.get(20)
    assert len(threads) == 20
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_costs_no_other_outcome(
    pool: Pool, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def raise_it(_: int) -> None:
        raise error

    first = pool.apply_async(square, (1,), callback=raise_it)
    second = pool.apply_async(square, (2,), callback=lambda _: None)
    assert (first.get(20), second.get(20)) == (1, 4)
    assert "a callback of the pool raised" in caplog.text


def test_a_callback_may_make_calls_of_its_own(pool: Pool) -> None:
    inner: list[int] = []
    pool.apply_async(square, (3,), callback=lambda value: inner.append(pool.apply(square, (value,)))).get(20)
    assert inner == [81]


# ── errors ──


def test_an_exception_comes_with_the_traceback_of_the_worker(pool: Pool) -> None:
    with pytest.raises(LookupError, match="no such thing") as caught:
        pool.apply(fail, ("no such thing",))
    cause = caught.value.__cause__
    assert isinstance(cause, multiprocessing.pool.RemoteTraceback)  # type: ignore[attr-defined]
    assert "in fail" in str(cause)
    assert "calls.py" in str(cause)


def test_a_sys_exit_ends_the_call_and_not_the_worker(pool: Pool) -> None:
    with pytest.raises(SystemExit):
        pool.apply(leave, (3,))
    assert pool.apply(square, (2,)) == 4


def test_what_cannot_be_pickled_is_that_calls_error(pool: Pool) -> None:
    with pytest.raises(Exception, match="pickle"):
        pool.apply(lambda: 1)
    with pytest.raises(RuntimeError, match="not to be pickled"):
        pool.apply(square, (Refusing(),))
    with pytest.raises(multiprocessing.pool.MaybeEncodingError):  # type: ignore[attr-defined]
        pool.apply(make_lock, (1,))
    assert pool.apply(square, (2,)) == 4


def test_an_error_of_pickling_goes_to_the_error_callback_too(pool: Pool) -> None:
    errors: list[BaseException] = []
    pool.apply_async(square, (Refusing(),), error_callback=errors.append).wait(5)
    assert [str(error) for error in errors] == ["not to be pickled"]


def test_an_exception_that_cannot_be_unpickled_still_says_what_was_raised_and_where(pool: Pool) -> None:
    with pytest.raises(TypeError, match="second") as caught:
        pool.apply(fail_unpicklably)
    assert "TwoArgumentsError: 1, 2" in str(caught.value.__cause__)
    assert "in fail_unpicklably" in str(caught.value.__cause__)


def ways_to_fail(pool: Pool, kind: type[Exception], text: str) -> Iterator[Callable[[float], Any]]:
    """All ways to hear of a call that fails: each is called with a patience in seconds."""
    yield pool.apply_async(fail_with, (kind, text)).get
    yield pool.submit(fail_with, kind, text).result
    yield pool.starmap_async(fail_with, [(kind, text)]).get
    yield pool.imap(functools.partial(fail_with, kind), [text]).next
    called: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    pool.apply_async(fail_with, (kind, text), error_callback=called.put)

    def raise_what_was_called_back(patience_s: float) -> None:
        raise called.get(timeout=patience_s)

    yield raise_what_was_called_back


def test_an_exception_that_is_none_any_more_when_unpickled_ends_its_call(pool: Pool) -> None:
    for ending in ways_to_fail(pool, PretendingError, "really"):
        with pytest.raises(pickle.UnpicklingError, match="is a str when unpickled, no exception") as caught:
            ending(10)
        assert "PretendingError: really" in str(caught.value.__cause__)


def test_an_exception_that_lets_no_attribute_be_set_ends_its_call(pool: Pool) -> None:
    for ending in ways_to_fail(pool, FrozenError, "cold"):
        with pytest.raises(FrozenError, match=r"^cold$") as caught:
            ending(10)
        assert "in fail_with" in str(caught.value.__cause__)


def test_an_attribute_error_of_the_function_is_not_taken_for_a_missing_function(pool: Pool) -> None:
    with pytest.raises(AttributeError, match=r"^'int' object has no attribute 'nothing'$"):
        pool.apply(getattr, (1, "nothing"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_death_of_a_worker_costs_that_call_alone(pool: Pool, number: signal.Signals) -> None:
    before = [pool.apply_async(square, (n,)) for n in range(100)]
    doomed = pool.apply_async(die, (number,))
    after = [pool.apply_async(square, (n,)) for n in range(100)]
    with pytest.raises(WorkerDiedError, match=f"^die: the worker .* {number.name}") as caught:
        doomed.get(20)
    assert caught.value.died.signal == number.name
    assert [result.get(20) for result in before + after] == [n * n for n in range(100)] * 2


def test_unknown_options_and_limits_that_stop_everything_are_refused(pool: Pool) -> None:
    with pytest.raises(TypeError, match="retries"):
        pool.apply(square, (1,), retries=3)  # type: ignore[call-arg]
    for name in ("timeout", "soft_timeout", "memory_limit"):
        with pytest.raises(ValueError, match=f"{name} must be more than 0"):
            pool.apply(square, (1,), **{name: 0})  # type: ignore[arg-type]


# ── calls within callbacks ──


def in_a_callback(pool: Pool, work: Callable[[], Any]) -> Any:
    """Run `work` in a callback and return its value."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def call_back(_: int) -> None:
        try:
            done.put(work())
        except BaseException as error:
            done.put(error)
            raise

    pool.apply_async(square, (1,), callback=call_back)
    return done.get(timeout=20)


def test_a_callback_may_wait_for_a_future(pool: Pool) -> None:
    assert in_a_callback(pool, lambda: pool.submit(square, 3).result()) == 9
    assert in_a_callback(pool, lambda: pool.submit(square, 3).result(10)) == 9
    assert isinstance(in_a_callback(pool, lambda: pool.submit(fail, "x").exception()), LookupError)
    assert in_a_callback(pool, lambda: pool.submit(square, 3).exception(10)) is None


def test_a_future_that_a_callback_waits_for_calls_its_own_callbacks_once(pool: Pool) -> None:
    called: list[int] = []

    def wait_twice() -> list[int]:
        future = pool.submit(square, 3)
        future.add_done_callback(lambda future: called.append(future.result()))
        return [future.result(), future.result()]

    assert in_a_callback(pool, wait_twice) == [9, 9]
    assert in_a_callback(pool, lambda: "the queue of callbacks is done with") == "the queue of callbacks is done with"
    assert called == [9]


def test_a_callback_may_wait_for_a_result_that_has_callbacks_itself(pool: Pool) -> None:
    called: list[Any] = []

    def wait() -> Any:
        single = pool.apply_async(square, (3,), callback=called.append)
        several = pool.map_async(square, range(4), callback=called.append)
        failed = pool.apply_async(fail, ("x",), error_callback=lambda error: called.append(type(error)))
        failed.wait()
        return single.get(20), several.get(), failed.ready()

    assert in_a_callback(pool, wait) == (9, [0, 1, 4, 9], True)
    assert in_a_callback(pool, called.copy) == [LookupError, 9, [0, 1, 4, 9]]  # and none of them again


def raise_type_error(_: int) -> None:
    abs(None)  # type: ignore[arg-type]


def test_a_callback_that_raises_is_not_the_error_of_the_callback_that_waits(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    assert in_a_callback(pool, lambda: pool.apply_async(square, (3,), callback=raise_type_error).get(20)) == 9
    assert "a callback of the pool raised" in caplog.text


def test_a_callback_may_ask_for_its_own_result(pool: Pool) -> None:
    values: queue.SimpleQueue[int] = queue.SimpleQueue()
    result: AsyncResult[int] | None = None
    made = threading.Event()

    def call_back(_: int) -> None:
        made.wait(10)
        assert result is not None
        values.put(result.get())

    result = pool.apply_async(square, (3,), callback=call_back)
    made.set()
    assert values.get(timeout=20) == 9
    assert in_a_callback(pool, values.empty)  # it was called once


def test_a_callback_that_waits_in_vain_gets_the_time_out(pool: Pool) -> None:
    slow = pool.submit(sleep, 1.0)
    assert isinstance(in_a_callback(pool, lambda: slow.result(0.05)), TimeoutError)
    assert isinstance(in_a_callback(pool, lambda: slow.exception(0.05)), TimeoutError)
    late = pool.apply_async(sleep, (1.0,), callback=lambda _: None)
    assert isinstance(in_a_callback(pool, lambda: late.get(0.05)), multiprocessing.TimeoutError)
    assert slow.result(10) == late.get(20) == 1.0


def test_a_callback_may_wait_for_a_future_that_is_cancelled(pool: Pool) -> None:
    def cancel_and_wait() -> Any:
        future = pool.submit(sleep, 60)
        future.cancel()
        return future.result()

    assert isinstance(in_a_callback(pool, cancel_and_wait), CancelledError)
