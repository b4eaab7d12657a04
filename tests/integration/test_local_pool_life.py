"""`workd.Pool`: how it begins and how it ends, whatever is under way."""

import asyncio
import contextlib
import errno
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker
from unittest.mock import MagicMock, patch

import pytest

from support.calls import count_up, die, fail, recall, refuse_to_start, remember, same, sleep, square
from support.pool_owner import assert_nothing_new, left_overs, new_since
from support.processes import is_alive
from support.waiting import eventually
from workd import Pool
from workd.errors import BootError, PoolClosedError, WorkerDiedError
from workd.pool import board, launcher
from workd.pool.api import engine
from workd.pool.api.results import AsyncResult
from workd.pool.boots import Boots
from workd.pool.core import ProcessPool

# ── the end ──


def test_close_and_join_finish_everything_and_leave_nothing() -> None:
    before = left_overs()
    pool = Pool(2)
    results = [pool.apply_async(sleep, (0.01,)) for _ in range(50)]
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    pool.close()
    for name in ("apply", "apply_async", "submit", "map", "starmap", "imap", "imap_unordered"):
        with pytest.raises(ValueError, match="Pool not running"):
            getattr(pool, name)(square, (1,))
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass
    pool.join()
    pool.join()
    assert all(result.ready() for result in results)
    assert [result.get() for result in results] == [0.01] * 50
    assert_nothing_new(before)


def test_a_closed_pool_lets_its_workers_go_even_if_nobody_joins_it() -> None:
    before = left_overs()
    pool = Pool(1)
    result = pool.apply_async(square, (3,))
    pool.close()
    eventually(lambda: not new_since(before))
    assert result.get(20) == 9


def test_join_returns_after_the_last_callback() -> None:
    pool = Pool(1)
    called = []

    def call_slowly(value: int) -> None:
        time.sleep(0.2)
        called.append(value)

    pool.apply_async(square, (3,), callback=call_slowly)
    pool.close()
    pool.join()
    assert called == [9]


def test_terminate_with_10000_pending_calls_is_quick_and_no_call_waits_for_ever() -> None:
    before = left_overs()
    pool = Pool(2)
    errors: list[BaseException] = []
    results = [pool.apply_async(sleep, (10,), error_callback=errors.append) for _ in range(10_000)]
    started = time.monotonic()
    pool.terminate()
    pool.terminate()
    pool.join()
    assert time.monotonic() - started < 8
    for result in results:
        with pytest.raises(PoolClosedError, match="sleep has no outcome: the pool was terminated"):
            result.get(1)
    assert len(errors) == 10_000
    assert_nothing_new(before)


def test_close_and_join_finish_100000_calls() -> None:
    pool = Pool(2)
    results = [pool.apply_async(square, (n,)) for n in range(100_000)]
    pool.close()
    pool.join()
    assert [result.get(1) for result in results] == [n * n for n in range(100_000)]


def test_terminate_in_one_thread_ends_a_join_in_another() -> None:
    pool = Pool(1)
    result = pool.apply_async(sleep, (60,))
    pool.close()
    joining = threading.Thread(target=pool.join)
    joining.start()
    time.sleep(0.1)
    pool.terminate()
    joining.join(5)
    assert not joining.is_alive()
    with pytest.raises(PoolClosedError):
        result.get(1)


def test_terminate_in_a_callback_ends_the_pool() -> None:
    before = left_overs()
    pool = Pool(1)
    ended = threading.Event()

    def end(_: int) -> None:
        pool.terminate()
        ended.set()

    pool.apply_async(square, (1,), callback=end).get(20)
    assert ended.wait(5)
    eventually(lambda: not new_since(before))


def test_terminate_does_not_wait_for_ever_for_a_callback_that_waits_for_it() -> None:
    pool = Pool(1)
    terminated, called = threading.Event(), threading.Event()

    def wait_for_the_end(_: int) -> None:
        called.set()
        terminated.wait(30)

    pool.apply_async(square, (1,), callback=wait_for_the_end)
    assert called.wait(5)
    started = time.monotonic()
    pool.terminate()
    assert time.monotonic() - started < 5
    terminated.set()
    pool.join()


def test_calls_racing_with_terminate_end_or_are_refused() -> None:
    for delay_s in (0.0, 0.001, 0.01):
        pool = Pool(1)
        results: list[AsyncResult[int]] = []

        def call(pool: Pool = pool, results: list[AsyncResult[int]] = results) -> None:
            while True:
                try:
                    results.append(pool.apply_async(square, (1,), callback=lambda _: None))
                    results.append(pool.map_async(square, range(3), chunksize=1))  # type: ignore[arg-type]
                    next(pool.imap(square, range(3)))
                except (ValueError, PoolClosedError):
                    return

        calling = threading.Thread(target=call)
        calling.start()
        time.sleep(delay_s)
        pool.terminate()
        calling.join(5)
        assert not calling.is_alive()
        for result in results:
            result.wait(5)
            assert result.ready()


def test_a_signal_handler_may_use_the_pool_wherever_it_interrupts() -> None:
    with Pool(1) as pool:
        results: list[AsyncResult[int]] = []
        before = signal.signal(signal.SIGALRM, lambda *_: results.append(pool.apply_async(square, (2,))))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            values = [pool.apply_async(square, (3,)).get(20) for _ in range(500)]
            assert list(pool.imap(square, range(500))) == [n * n for n in range(500)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert set(values) == {9}
        assert results
        assert {result.get(20) for result in results} == {4}


def test_a_pool_that_nobody_holds_warns_and_ends_its_processes() -> None:
    before = left_overs()
    pool = Pool(1)
    pool.apply(square, (1,))
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):  # noqa: PT031 - `del` is no function
        del pool
        gc.collect()
    assert_nothing_new(before)


def test_a_pool_lives_until_its_last_result_is_there() -> None:
    before = left_overs()
    result = Pool(1).apply_async(sleep, (0.3,))
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):
        eventually(lambda: result.ready() and result._pool is None)
    assert result.get() == 0.3
    eventually(lambda: not new_since(before))  # only now: the warning that was caught holds the pool


def test_a_pool_cannot_be_used_in_a_forked_child_and_says_so() -> None:
    with Pool(1) as pool:
        assert pool.apply(square, (2,)) == 4
        child = os.fork()
        if child == 0:
            status = 1
            signal.alarm(20)  # rather than hang
            with contextlib.suppress(BaseException):
                try:
                    pool.apply(square, (2,))
                except ValueError:
                    status = 0
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pool.apply(square, (3,)) == 9


# ── what must not happen ──


def test_when_the_core_breaks_every_call_fails_with_the_cause_and_the_pool_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = left_overs()
    pool = Pool(1)
    running = pool.apply_async(sleep, (60,))
    future, mapped = pool.submit(sleep, 60), pool.map_async(sleep, [60])
    error = RuntimeError("what must not happen")
    with patch.object(pool._engine._pool, "submit", side_effect=error):
        doomed = pool.apply_async(square, (1,))
        for result in (running.get, doomed.get, mapped.get, future.result):
            with pytest.raises(
                PoolClosedError, match=r"the pool is broken and was stopped: .*what must not happen"
            ) as caught:
                result(10)
            assert caught.value.__cause__ is error
    eventually(lambda: not pool._engine._thread.is_alive())
    with pytest.raises(ValueError, match="not running"):
        pool.apply(square, (1,))
    assert "the pool is broken" in caplog.text
    pool.terminate()
    pool.join()
    assert_nothing_new(before)


@pytest.mark.parametrize(
    ("where", "name"),
    [(ProcessPool, "fill"), (launcher, "ExitStatus"), (board, "stacks_size")],
    ids=["a worker's death", "the forkserver's answer", "a timer"],
)
def test_an_error_in_a_callback_of_the_loop_ends_the_pool_visibly(
    where: object, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = left_overs()
    pool = Pool(1)
    pool.apply_async(sleep, (60,), timeout=0.2)  # its end is each of the three
    result = pool.apply_async(sleep, (60,))
    with patch.object(where, name, side_effect=LookupError("what must not happen")):
        with pytest.raises(PoolClosedError, match=r"is broken and was stopped: .*what must not happen") as caught:
            result.get(20)
        assert isinstance(caught.value.__cause__, LookupError)
        eventually(lambda: not pool._engine._thread.is_alive())
    assert "the pool is broken" in caplog.text
    pool.terminate()
    assert_nothing_new(before)


def test_what_the_loop_only_complains_of_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with Pool(1) as pool:

        async def forget(_: ProcessPool) -> None:
            asyncio.get_running_loop().create_future().set_exception(RuntimeError("nobody asks for it"))
            gc.collect()

        pool._engine.ask(forget)
        eventually(lambda: "nobody asks for it" in caplog.text)
        assert pool.apply(square, (3,)) == 9


def test_a_core_that_breaks_while_it_boots_ends_the_constructor_with_the_cause() -> None:
    before = left_overs()
    with (
        patch.object(Boots, "_on_ready", side_effect=RuntimeError("what must not happen")),
        pytest.raises(RuntimeError, match="what must not happen"),
    ):
        Pool(2)
    assert_nothing_new(before)


@pytest.mark.parametrize("name", ["workd-pool", "workd-pool-callbacks"])
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_a_pool_that_gets_no_thread_is_an_error_that_leaves_nothing(method: str, name: str) -> None:
    before = left_overs()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    with (
        patch.object(threading.Thread, "start", refuse),
        pytest.raises(RuntimeError, match="can't start new thread"),
    ):
        Pool(1, context=multiprocessing.get_context(method))
    assert_nothing_new(before)


@pytest.mark.parametrize("broken", ["new_loop", "ProcessPool"])
def test_a_pool_that_has_no_core_is_an_error_that_leaves_nothing(broken: str) -> None:
    resource_tracker.ensure_running()  # or it would be taken for a left-over
    before = left_overs()
    with (
        patch.object(engine, broken, side_effect=OSError(errno.EMFILE, "no descriptors")),
        pytest.raises(OSError, match="no descriptors"),
    ):
        Pool(1, remember, (multiprocessing.get_context("spawn").Lock(),))
    gc.collect()
    assert_nothing_new(before)


def test_too_few_descriptors_are_an_error_and_not_the_end_of_the_program() -> None:
    script = """
import os, resource, sys
import workd.pool.api.engine, workd.pool.owner
from workd import Pool

in_use = max(int(fd) for fd in os.listdir("/proc/self/fd"))
for free in range(12):
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        Pool(1).terminate()
    except (OSError, workd.WorkdError) as error:
        print(type(error).__name__)
    else:
        print("made")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 12
    assert "OSError" in done.stdout
    assert "Exception ignored" not in done.stderr


def test_whatever_the_core_forgets_has_an_outcome_when_the_loop_ends(caplog: pytest.LogCaptureFixture) -> None:
    before = left_overs()
    pool = Pool(1)
    result, values = pool.apply_async(sleep, (60,)), pool.imap(sleep, [60, 60])
    stop = pool._engine._pool.stop

    async def stop_and_fail(*, kill: bool) -> None:
        with patch.object(pool._engine, "on_result"):
            await stop(kill=kill)
        raise RuntimeError("even the end fails")

    with patch.object(pool._engine._pool, "stop", stop_and_fail):
        pool.terminate()
    with pytest.raises(PoolClosedError, match="even the end fails"):
        result.get(20)
    with pytest.raises(PoolClosedError, match="even the end fails"):
        values.next(5)
    assert "even the end fails" in caplog.text
    assert_nothing_new(before)


# ── the beginning ──


def test_an_initializer_runs_in_each_worker_and_again_in_a_new_one() -> None:
    with Pool(1, remember, (42,)) as pool:
        assert pool.apply(recall, (0,)) == 42
        with pytest.raises(WorkerDiedError):
            pool.apply(die, (signal.SIGKILL,))
        assert pool.apply(recall, (0,)) == 42


def test_an_initializer_that_raises_is_an_error_and_not_a_storm_of_workers() -> None:
    before = left_overs()
    with pytest.raises(BootError, match="RuntimeError: no database"):
        Pool(2, refuse_to_start, ("no database",))
    assert_nothing_new(before)


def test_a_preparation_that_cannot_be_pickled_is_an_error_that_leaves_nothing() -> None:
    before = left_overs()
    with pytest.raises(Exception, match="pickle"):
        Pool(1, remember, (lambda: 1,))
    assert_nothing_new(before)


def test_workers_that_cannot_boot_any_more_do_not_let_calls_wait_for_ever() -> None:
    with Pool(1, boot_timeout=1.0) as pool:
        with patch.object(type(pool._engine._pool.boots.servers.current), "fork", side_effect=OSError("no processes")):
            with pytest.raises(WorkerDiedError):
                pool.apply(die, (signal.SIGKILL,))
            with pytest.raises(BootError, match="no processes"):
                pool.apply_async(square, (2,)).get(20)
        eventually(lambda: pool.stats().ready, timeout_s=40)
        assert pool.apply_async(square, (3,)).get(20) == 9


def test_wrong_arguments_are_refused_like_the_standard_librarys() -> None:
    for processes in (0, -1):
        with pytest.raises(ValueError, match="Number of processes must be at least 1"):
            Pool(processes)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Pool(1, initializer="no")  # type: ignore[arg-type]
    for value in (0, -1, 0.5, "12"):
        with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
            Pool(1, maxtasksperchild=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="context must be one of"):
        Pool(1, context=MagicMock())
    for name in ("max_pending", "memory_limit", "max_age", "max_growth", "boot_timeout"):
        with pytest.raises(ValueError, match=f"{name} must be more than 0"):
            Pool(1, **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_locks_queues_and_shared_values_may_be_given_to_the_initializer(method: str) -> None:
    resource_tracker.ensure_running()  # or its pipe would be taken for a left-over
    before = left_overs()["descriptors"]
    context = multiprocessing.get_context(method)
    lock, queue, value = context.Lock(), context.SimpleQueue(), context.Value("i", 0)
    reading, writing = context.Pipe(duplex=False)
    with Pool(2, remember, ((lock, queue, value, writing),), context=context) as pool:
        writing.close()
        with pytest.raises(WorkerDiedError):
            pool.apply(die, (signal.SIGKILL,))
        eventually(lambda: pool.stats().ready == 2, timeout_s=40)  # a worker that comes later gets them, too
        assert pool.map(count_up, range(100), chunksize=1) == [None] * 100
        assert value.value == 100
        assert sorted(queue.get() for _ in range(100)) == list(range(100))
        assert {reading.recv() for _ in range(100)} == {"counted"}
    queue.close()
    del lock, queue, value
    reading.close()
    gc.collect()
    assert not [fd for fd in left_overs()["descriptors"] - before if "pipe" in fd]


def test_a_duplex_pipe_in_the_preparation_is_refused_with_what_to_do() -> None:
    before = left_overs()
    one, other = multiprocessing.Pipe()
    with one, other, pytest.raises(TypeError, match=r"use Pipe\(duplex=False\)"):
        Pool(1, remember, (other,))
    assert_nothing_new(before)


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_every_start_method_runs_calls_and_leaves_nothing(method: str) -> None:
    before = left_overs()
    with Pool(2, remember, (method,), context=multiprocessing.get_context(method)) as pool:
        assert pool.apply(recall, (0,)) == method
        assert pool.map(square, range(100)) == [n * n for n in range(100)]
        with pytest.raises(LookupError):
            pool.apply(fail, ("x",))
        with pytest.raises(WorkerDiedError):
            pool.apply_async(die, (signal.SIGKILL,)).get(20)
        assert pool.apply(recall, (0,)) == method
    assert_nothing_new(before)


# ── what programs look at ──


def test_a_pool_shows_itself_as_the_standard_librarys_does() -> None:
    with Pool(2) as pool:
        assert repr(pool) == "<workd.pool.local.Pool state=RUN pool_size=2>"
        assert pool._processes == 2
        workers = pool._pool
        assert len({worker.pid for worker in workers}) == 2
        assert all(worker.is_alive() for worker in workers)
        with pytest.raises(NotImplementedError, match="cannot be passed between processes or pickled"):
            pickle.dumps(pool)
        with pytest.raises(NotImplementedError, match="cannot be passed"):
            pool.apply(same, (pool,))
        pool.close()
        assert pool._state == "CLOSE"
    assert pool._state == "TERMINATE"
    assert not any(worker.is_alive() or is_alive(worker.pid) for worker in workers)
    assert pool._pool == []
    pool._state = "RUN"  # as CPython's own test does it
    with pytest.raises(ValueError, match="not running"):
        pool.apply(square, (1,))
    pool._state = "TERMINATE"
