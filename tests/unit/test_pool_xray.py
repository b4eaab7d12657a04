"""What is made of the text of `faulthandler`, and of /proc."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

import pytest

from workd.pool import board, processes
from workd.pool.child import stacks
from workd.pool.xray import _Said, parse

TWO_THREADS = """Thread 0x00007f0000000700 (most recent call first):
  File "/app/net.py", line 12 in wait
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007f0000000800 (most recent call first):
  File "/app/tasks.py", line 7 in crunch
"""


def test_the_main_thread_comes_first() -> None:
    main, other = parse(TWO_THREADS)
    assert (main.name, [(f.file, f.line, f.function) for f in main.frames]) == (
        "MainThread",
        [("/app/tasks.py", 7, "crunch")],
    )
    assert (other.name, [frame.function for frame in other.frames]) == ("thread 0x7f0000000700", ["wait", "run"])


def test_a_dump_of_one_thread_and_names_of_newer_pythons_are_understood() -> None:
    [only] = parse('Stack (most recent call first):\n  File "a.py", line ??? in f\n')
    assert (only.name, only.frames[0].line) == ("MainThread", 0)
    [named] = parse('Thread 0x00007f0000000700 [loader] (most recent call first):\n  File "a.py", line 1 in f\n')
    assert named.name == "loader"


@pytest.mark.parametrize(
    "text", ["", "garbage", '  File "a.py", line 1 in f', "\0" * 100, "Thread 0xzz (most recent call first):"]
)
def test_what_is_no_stack_gives_none_with_frames(text: str) -> None:
    assert not any(stack.frames for stack in parse(text))


def test_long_names_and_large_numbers_are_cut() -> None:
    name = "x" * 5_000
    [stack] = parse(f'Stack (most recent call first):\n  File "{name}", line {"9" * 30} in {name}\n')
    assert (len(stack.frames[0].file), stack.frames[0].line) == (400, 2**31 - 1)


def test_our_own_frames_are_left_out() -> None:
    own = f"{os.path.dirname(board.__file__)}/child/worker.py"  # noqa: PTH120 - as the module has it
    [stack] = parse(f'Stack (most recent call first):\n  File "/a.py", line 1 in f\n  File "{own}", line 9 in serve\n')
    assert [frame.file for frame in stack.frames] == ["/a.py"]


def test_a_process_is_described_by_the_kernel() -> None:
    usage = processes.usage(os.getpid())
    assert usage is not None
    assert usage.state in "RS"
    assert usage.threads >= 1
    assert usage.rss_bytes > 1_000_000
    assert usage.cpu_s > 0


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    gone = 2**22 + 1  # no pid is so large
    assert processes.usage(gone) is None
    assert not processes.takes(gone, signal.SIGUSR1)
    assert not processes.other_threads_at_work(gone)
    assert processes.kernel_stack(gone) == ""


def test_signals_with_a_handler_and_those_that_are_held_back_are_told_apart() -> None:
    number = signal.SIGRTMAX - 1
    assert not processes.takes(os.getpid(), number)
    before = signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        assert processes.takes(os.getpid(), number)
        assert processes.holds_back(os.getpid(), number)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        signal.signal(number, before)
    assert not processes.holds_back(os.getpid(), number)


def test_the_answer_of_a_worker_is_bounded_however_deep_and_many_its_stacks_are() -> None:
    ready, stop = threading.Barrier(21), threading.Event()

    def down(depth: int) -> None:
        if depth:
            down(depth - 1)
        else:
            ready.wait()
            stop.wait()

    threads = [threading.Thread(target=down, args=(150,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
        found = stacks.describe(None, 300)
        assert sum(len(stack["frames"]) for stack in found) == 300
        assert max(len(stack["frames"]) for stack in found) == stacks.MAX_FRAMES
        said = json.loads(stacks.as_json(found))
        assert len(said["places"]) < 10, "each place once"
        assert max(index for stack in said["stacks"] for index in stack["frames"]) == len(said["places"]) - 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("name", ["\udc80 of a file name", "\ud83d\ude00", 'a "quoted"\nü', 5])
def test_a_worker_can_answer_whatever_its_threads_are_called(name: Any) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread._name = name  # type: ignore[attr-defined]  # as subclasses do
    thread.start()
    try:
        said = _Said.model_validate_json(stacks.as_json(stacks.describe(None)))
        assert str(name).encode(errors="replace").decode() in [stack.name for stack in said.stacks]
    finally:
        stop.set()
        thread.join()
