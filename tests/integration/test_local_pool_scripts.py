"""`workd.Pool` in scripts: what its workers find of the program, and what the program's end leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_script_that_ends_without_closing_its_pool_ends_quietly(tmp_path: Path) -> None:
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
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_a_local_worker_has_loaded_no_redis_and_no_loop(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
def loaded(names):
    return [name for name in names if name in sys.modules]

if __name__ == "__main__":
    with Pool(1) as pool:
        names = ["redis", "asyncio", "uvloop", "pydantic", "workd_tasks", "structlog", "workd.pool.api.engine"]
        print(pool.apply(loaded, (names,)))
""",
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_the_executable_that_the_program_sets_is_the_workers_interpreter(tmp_path: Path, method: str) -> None:
    other = tmp_path / "other-python"
    other.write_text(f'#!/bin/sh\nOTHER=yes exec {sys.executable} "$@"\n')
    other.chmod(0o755)
    done = run_script(
        tmp_path,
        f"""
import multiprocessing, os

if __name__ == "__main__":
    multiprocessing.set_executable({str(other)!r})
    with Pool(1, context=multiprocessing.get_context({method!r})) as pool:
        print(pool.apply(os.getenv, ("OTHER",)))
""",
    )
    assert (done.stdout, done.stderr) == ("yes\n", "")


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_the_executable_may_be_a_name_to_be_looked_for(tmp_path: Path, method: str) -> None:
    done = run_script(
        tmp_path,
        f"""
import multiprocessing, os, sys

if __name__ == "__main__":
    os.environ["PATH"] = os.path.dirname(sys.executable)
    multiprocessing.set_executable(os.path.basename(sys.executable))
    with Pool(1, context=multiprocessing.get_context({method!r})) as pool:
        print(pool.apply(abs, (-1,)))
""",
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_fork_imports_nothing_that_another_thread_may_have_begun_to_import(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import multiprocessing

def imported_since(known):
    return sorted(set(sys.modules) - set(known))

if __name__ == "__main__":
    with Pool(1, context=multiprocessing.get_context("fork")) as pool:
        print(pool.apply(imported_since, (list(sys.modules),)))
""",
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(("line", "shown"), [("", "True"), ("gc.disable()", "False")])
def test_workers_collect_garbage_unless_the_script_says_otherwise(tmp_path: Path, line: str, shown: str) -> None:
    done = run_script(
        tmp_path,
        f"""
import gc, multiprocessing
{line}

if __name__ == "__main__":
    for method in ("forkserver", "spawn", "fork"):
        with Pool(1, context=multiprocessing.get_context(method)) as pool:
            print(pool.apply(gc.isenabled))
""",
    )
    assert (done.stdout.split(), done.stderr) == ([shown] * 3, "")


def test_a_script_that_is_interrupted_ends_with_its_workers(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import signal, threading, time

if __name__ == "__main__":
    with Pool(2) as pool:
        print(pool.apply(os.getpid), flush=True)
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        pool.map(time.sleep, [60, 60])
""",
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_script_may_choose_the_start_method(tmp_path: Path, method: str) -> None:
    done = run_script(
        tmp_path,
        f"""
import multiprocessing

def where(_): return __name__, value

value = "imported"

def prepare(word):
    global value
    value += word

if __name__ == "__main__":
    value = "changed"
    with Pool(2, prepare, (" and prepared",), context=multiprocessing.get_context({method!r})) as pool:
        print(*pool.apply(where, (1,)))
""",
    )
    expected = "__main__ changed and prepared\n" if method == "fork" else "__mp_main__ imported and prepared\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_with_fork_nothing_of_the_preparation_has_to_be_pickled(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
import multiprocessing, threading

lock = threading.Lock()

def use(_): return lock.acquire(timeout=1)

with Pool(1, lambda it: it.acquire(), (lock,), context=multiprocessing.get_context("fork")) as pool:
    print(pool.apply(use, (1,)), lock.locked())
""",
    )
    assert (done.stdout, done.stderr) == ("False False\n", "")
