import fcntl
import os
import signal
import time
from collections.abc import Callable

from support.processes import is_alive
from support.waiting import eventually
from workd.pool import lifeline
from workd.pool.lifeline import Lifeline


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child, which then waits for its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            time.sleep(30)
        finally:
            os._exit(9)
    return pid


def end_of(pid: int) -> int | None:
    """Return the signal that ended a child; None while it lives."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.WTERMSIG(status) if done else None


def await_end(pid: int) -> int | None:
    return eventually(lambda: end_of(pid))


def await_gone(pid: int) -> None:
    eventually(lambda: not is_alive(pid))


def test_every_process_that_is_armed_dies_with_the_write_end() -> None:
    line = Lifeline()
    read_fd = os.dup(line.read_fd)  # the line closes its own copy in a child
    pids = [forked(lambda: lifeline.arm(read_fd)) for _ in range(3)]
    time.sleep(0.1)
    assert [os.waitpid(pid, os.WNOHANG) for pid in pids] == [(0, 0)] * 3
    line.close()
    line.close()
    assert [await_end(pid) for pid in pids] == [signal.SIGKILL] * 3
    os.close(read_fd)


def test_arming_after_the_end_kills_at_once() -> None:
    line = Lifeline()
    read_fd = os.dup(line.read_fd)
    line.close()
    pid = forked(lambda: lifeline.arm(read_fd))
    assert await_end(pid) == signal.SIGKILL
    os.close(read_fd)


def test_a_group_leader_takes_its_children_along_and_others_die_alone() -> None:
    for lead in (True, False):
        line = Lifeline()
        read_fd = os.dup(line.read_fd)
        told_fd, tell_fd = os.pipe()

        def family(lead: bool = lead, read_fd: int = read_fd, tell_fd: int = tell_fd) -> None:
            if lead:
                os.setsid()
            lifeline.arm(read_fd)
            child = os.fork()
            if child == 0:
                time.sleep(30)
                os._exit(0)
            os.write(tell_fd, child.to_bytes(4, "little"))

        pid = forked(family)
        child = int.from_bytes(os.read(told_fd, 4), "little")
        line.close()
        assert await_end(pid) == signal.SIGKILL
        if lead:
            await_gone(child)
        else:
            assert is_alive(child)
            os.kill(child, signal.SIGKILL)
        for fd in (read_fd, told_fd, tell_fd):
            os.close(fd)


def test_a_forked_child_of_the_supervisor_does_not_hold_the_line() -> None:
    line = Lifeline()
    read_fd = os.dup(line.read_fd)
    holder = forked(lambda: None)
    armed = forked(lambda: lifeline.arm(read_fd))
    line.close()
    assert await_end(armed) == signal.SIGKILL
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    os.close(read_fd)


def test_both_ends_are_closed_on_exec() -> None:
    line = Lifeline()
    for fd in (line.read_fd, line._write_fd):
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    line.close()
