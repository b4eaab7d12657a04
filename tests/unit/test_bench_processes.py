"""What the benches read from /proc."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import machine, processes
from bench.processes import Cpu, MachineTime

BURNT_S = 0.2
TICK_S = 0.02
CHILD = "import sys; sys.stdin.read()"
BURN = f"import time\nwhile time.process_time() < {BURNT_S}: pass"


@contextmanager
def child(code: str = CHILD) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def gone() -> int:
    """Return the pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def burn() -> None:
    until = time.thread_time() + BURNT_S
    while time.thread_time() < until:
        pass


def test_a_child_that_a_thread_has_started_is_found_too() -> None:
    found: list[int] = []
    started, looked = threading.Event(), threading.Event()

    def start() -> None:
        with child() as process:
            found.append(process.pid)
            started.set()
            looked.wait(10)

    thread = threading.Thread(target=start)
    thread.start()
    started.wait(10)
    children = processes.children(os.getpid())
    looked.set()
    thread.join()
    assert found[0] in children


def test_descendants_are_all_below_a_process_and_the_tree_has_the_process_too() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
    with child(nested) as process:
        while not (below := processes.descendants(process.pid)):
            time.sleep(0.005)
        assert len(below) == 1
        assert list(processes.tree([process.pid])) == [process.pid, *below]
        assert set(processes.descendants(os.getpid())) >= {process.pid, *below}


def test_cpu_is_counted_by_ticks_and_by_nanoseconds() -> None:
    pid = os.getpid()
    ticks, exact_s = processes.cpu(pid), processes.live_cpu_s(pid)
    burn()
    assert (processes.cpu(pid) - ticks).total_s >= BURNT_S - TICK_S
    assert processes.live_cpu_s(pid) - exact_s >= BURNT_S


def test_the_cpu_of_reaped_children_is_counted_on_request() -> None:
    pid = os.getpid()
    own, all_of_it = processes.cpu(pid), processes.cpu(pid, and_of_reaped=True)
    subprocess.run([sys.executable, "-c", BURN], check=True)
    spent_s = (processes.cpu(pid, and_of_reaped=True) - all_of_it).total_s
    assert spent_s - (processes.cpu(pid) - own).total_s >= BURNT_S - TICK_S


def test_a_process_weighs_something() -> None:
    assert 1e6 < processes.pss_bytes(os.getpid()) < 1e9


def test_a_process_that_has_gone_has_nothing() -> None:
    pid = gone()
    assert processes.children(pid) == []
    assert processes.cpu(pid) == Cpu()
    assert processes.live_cpu_s(pid) == 0
    assert processes.pss_bytes(pid) == 0


def test_the_machines_time_goes_on() -> None:
    before = MachineTime.now()
    burn()
    passed = MachineTime.now().since(before)
    assert passed.total_s >= BURNT_S - TICK_S
    assert 0 <= passed.idle_s <= passed.total_s


def test_the_machine_is_described_in_words() -> None:
    found = machine.describe()
    assert {"cores", "processor", "kernel", "revision", "python", "server", "workd"} <= found.keys()
    assert all(found.values())
