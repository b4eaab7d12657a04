"""`workd.Pool`, as somebody uses it who comes from `multiprocessing.Pool`."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.calls import (
    add,
    die,
    fail,
    fail_unpicklably,
    leave,
    make_lock,
    recall,
    refuse_to_start,
    remember,
    sleep,
    square,
)
from support.pool_owner import assert_nothing_new, left_overs, new_since
from support.waiting import eventually
from workd import Pool
from workd.errors import BootError, PoolClosedError, WorkerDiedError
from workd.pool.results import AsyncResult


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool


# ── results ──


def test_maps_keep_the_order(pool: Pool) -> None:
    assert pool.map(square, range(1000)) == [n * n for n in range(1000)]
    assert pool.map(square, range(10), chunksize=3) == [n * n for n in range(10)]
    assert pool.map(square, []) == []
    assert pool.starmap(add, [(1, 2), (3,)]) == [3, 3]


def test_apply_takes_keywords(pool: Pool) -> None:
    assert pool.apply(add, (1,), {"y": 2}) == 3


def test_all_workers_are_used(pool: Pool) -> None:
    results = [pool.apply_async(sleep, (0.2,)) for _ in range(2)]
    started = time.monotonic()
    assert [result.get(5) for result in results] == [0.2, 0.2]
    assert time.monotonic() - started < 0.38


def test_a_callback_gets_the_value_and_an_error_callback_the_exception(pool: Pool) -> None:
    values: list[object] = []
    pool.apply_async(square, (3,), callback=values.append, error_callback=values.append).get(5)
    failed = pool.apply_async(fail, ("x",), callback=values.append, error_callback=values.append)
    failed.wait(5)
    pool.map_async(square, range(3), callback=values.append).wait(5)
    assert values[0] == 9
    assert isinstance(values[1], LookupError)
    assert values[2] == [0, 1, 4]


def test_a_callback_that_raises_costs_no_other_outcome(pool: Pool) -> None:
    first = pool.apply_async(square, (1,), callback=lambda _: 1 / 0)
    second = pool.apply_async(square, (2,))
    assert (first.get(5), second.get(5)) == (1, 4)


def test_ready_successful_and_get_with_a_timeout_behave_like_the_standard_librarys(pool: Pool) -> None:
    result = pool.apply_async(sleep, (0.3,))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    assert result.get() == 0.3
    assert result.successful()


# ── errors ──


def test_an_exception_comes_with_the_traceback_of_the_worker(pool: Pool) -> None:
    with pytest.raises(LookupError, match="no such thing") as caught:
        pool.apply(fail, ("no such thing",))
    assert "in fail" in str(caught.value.__cause__)
    assert "calls.py" in str(caught.value.__cause__)


def test_the_first_exception_of_a_map_is_raised(pool: Pool) -> None:
    with pytest.raises(LookupError, match="x"):
        pool.map(fail, ["x", "x"])


def test_a_sys_exit_ends_the_call_and_not_the_worker(pool: Pool) -> None:
    with pytest.raises(SystemExit):
        pool.apply(leave, (3,))
    assert pool.apply(square, (2,)) == 4


def test_what_cannot_be_pickled_is_that_calls_error(pool: Pool) -> None:
    with pytest.raises(Exception, match="pickle"):
        pool.apply(lambda: 1)
    with pytest.raises(Exception, match="pickle"):
        pool.apply(square, (threading.Lock(),))
    with pytest.raises(multiprocessing.pool.MaybeEncodingError):  # type: ignore[attr-defined]
        pool.apply(make_lock, (1,))
    with pytest.raises(TypeError, match="second"):  # its class can't be unpickled
        pool.apply(fail_unpicklably)
    assert pool.apply(square, (2,)) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_death_of_a_worker_costs_that_call_alone(pool: Pool, number: signal.Signals) -> None:
    before = [pool.apply_async(square, (n,)) for n in range(100)]
    doomed = pool.apply_async(die, (number,))
    after = [pool.apply_async(square, (n,)) for n in range(100)]
    with pytest.raises(WorkerDiedError, match=number.name) as caught:
        doomed.get(10)
    assert caught.value.signal == number.name
    assert [result.get(10) for result in before + after] == [n * n for n in range(100)] * 2


# ── life ──


def test_close_and_join_finish_everything_and_leave_nothing() -> None:
    before = left_overs()
    pool = Pool(2)
    results = [pool.apply_async(sleep, (0.01,)) for _ in range(50)]
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(square, (1,))
    pool.join()
    pool.join()
    assert all(result.ready() for result in results)
    assert [result.get() for result in results] == [0.01] * 50
    assert_nothing_new(before)


def test_terminate_with_10000_pending_calls_is_quick_and_no_call_waits_for_ever() -> None:
    before = left_overs()
    pool = Pool(2)
    results = [pool.apply_async(sleep, (10,)) for _ in range(10_000)]
    started = time.monotonic()
    pool.terminate()
    pool.terminate()
    pool.join()
    assert time.monotonic() - started < 2
    for result in results:
        with pytest.raises(PoolClosedError):
            result.get(1)
    assert_nothing_new(before)


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

    pool.apply_async(square, (1,), callback=end).get(5)
    assert ended.wait(5)
    eventually(lambda: not new_since(before))


def test_calls_racing_with_terminate_end_or_are_refused() -> None:
    for delay_s in (0.0, 0.001, 0.01):
        pool = Pool(1)
        results: list[AsyncResult[int]] = []

        def call(pool: Pool = pool, results: list[AsyncResult[int]] = results) -> None:
            while True:
                try:
                    results.append(pool.apply_async(square, (1,)))
                except ValueError:
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


def test_a_pool_that_nobody_holds_warns_and_ends_its_processes() -> None:
    before = left_overs()
    pool = Pool(1)
    pool.apply(square, (1,))
    with pytest.warns(ResourceWarning, match="unclosed running pool"):  # noqa: PT031 - `del` is no function
        del pool
        gc.collect()
    assert_nothing_new(before)


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


def test_wrong_arguments_are_refused_like_the_standard_librarys() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Pool(0)
    with pytest.raises(TypeError, match="callable"):
        Pool(1, initializer="no")  # type: ignore[arg-type]


# ── scripts ──

PREAMBLE = f"""
import sys, os
sys.path[:0] = {[str(Path(__file__).parents[2] / folder) for folder in ("daemon", "tasks")]!r}
from workd import Pool
"""


def run_script(
    tmp_path: Path, body: str, *, stdin: tuple[str, ...] = (), variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script: from a file, or from stdin where Python gets the options `stdin`."""
    script = tmp_path / "script.py"
    script.write_text(PREAMBLE + body)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | (variables or {})
    return subprocess.run(
        [sys.executable, *(stdin or (str(script),))],
        cwd=tmp_path,
        env=environment,
        input=script.read_text() if stdin else "",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_functions_of_a_script_run_in_its_workers(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
def square(x):
    return x * x

if __name__ == "__main__":
    with Pool(2) as pool:
        print(sum(pool.map(square, range(100))))
""",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("328350\n", "", 0)


def test_a_script_without_the_main_guard_gets_the_known_error_and_no_fork_bomb(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
with open("starts", "a") as file:
    file.write("x")
pool = Pool(2)
""",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "workd.errors.BootError: RuntimeError: the script makes a pool while a worker imports it: "
        f'put that under if __name__ == "__main__": ({tmp_path / "script.py"}:8)'
    )
    assert len(done.stderr.splitlines()) < 10
    assert (tmp_path / "starts").read_text() == "xx"  # the script, and its import for the workers


@pytest.mark.parametrize("options", [("-",), ("-i", "-q")])
def test_a_program_from_stdin_has_workers_that_know_every_module_but_it(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = run_script(
        tmp_path,
        """
import math
def typed(x): return x

pool = Pool(1)
print(pool.map(math.sqrt, [4]))
pool.map(typed, [4])
pool.terminate()
""",
        stdin=options,
    )
    assert done.stdout == "[2.0]\n"
    assert "AttributeError: Can't get attribute 'typed'" in done.stderr
    assert "workers can't import a main module that was typed in or came from stdin" in done.stderr


def test_a_function_under_the_main_guard_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
if __name__ == "__main__":
    def hidden(): pass
    with Pool(1) as pool:
        pool.apply(hidden)
""",
    )
    assert "Can't get attribute 'hidden'" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith('what is under if __name__ == "__main__": define it above that\n')


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_a_call_prints_is_there_even_if_its_worker_is_killed(tmp_path: Path, unbuffered: str) -> None:
    done = run_script(
        tmp_path,
        """
import signal
sys.stdout.write("started ")

def tell():
    print("a line", 1)
    print("another", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.apply_async(tell).wait()
""",
        variables={"PYTHONUNBUFFERED": unbuffered},
    )
    assert done.stdout.count("a line 1\n") == 1
    assert done.stdout.count("started ") == 2  # the script, and its import for the workers: no copy for each of them
    assert done.stderr == "another\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_printed_line_is_one_write(tmp_path: Path, unbuffered: str) -> None:
    script = tmp_path / "script.py"
    body = 'if __name__ == "__main__":\n    with Pool(1) as pool:\n        pool.apply(print, ("a", "line"))\n'
    script.write_text(PREAMBLE + body)
    reading, writing = os.pipe2(os.O_DIRECT)  # a pipe that keeps what was written apart
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    subprocess.run([sys.executable, str(script)], stdout=writing, env=environment, timeout=30, check=True)
    os.close(writing)
    assert os.read(reading, 100) == b"a line\n"
    os.close(reading)


def test_workers_have_the_programs_environment_but_do_not_report_to_its_service_manager(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
if __name__ == "__main__":
    with Pool(1) as pool:
        names = ("WORKD_REDIS_URL", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        print([name for name in names if pool.apply(os.getenv, (name,))])
""",
        variables={
            "WORKD_REDIS_URL": "x",
            "CREDENTIALS_DIRECTORY": "x",
            "NOTIFY_SOCKET": "/x",
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": "1",
        },
    )
    assert (done.stdout, done.stderr) == ("['WORKD_REDIS_URL', 'CREDENTIALS_DIRECTORY']\n", "")


def test_a_script_that_ends_without_closing_its_pool_ends(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import time
if __name__ == "__main__":
    pool = Pool(2)
    pool.apply_async(time.sleep, (60,))
    print(pool.apply(os.getpid))
""",
    )
    assert done.returncode == 0, done.stderr
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_a_local_worker_has_loaded_no_redis_and_no_loop(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
def loaded(names):
    return [name for name in names if name in sys.modules]

if __name__ == "__main__":
    with Pool(1) as pool:
        print(pool.apply(loaded, (["redis", "uvloop", "pydantic", "workd_tasks"],)))
""",
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
