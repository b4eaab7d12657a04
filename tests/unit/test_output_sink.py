"""Lines on their way: nothing is lost to a reader that is slow, nothing waits for one that is gone."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.waiting import eventually
from workd.output.sink import BACKLOG_BYTES, FdTarget, Sink
from workd.output.targets import of_fd

LINE = b"x" * 99 + b"\n"


class FakeTarget:
    """Takes what it is told to take."""

    def __init__(self, room: int = 10**9) -> None:
        self.whole = False
        self.room = room
        self.error: OSError | None = None
        self.taken = b""
        self.waits: list[float] = []

    def write(self, data: bytes) -> int:
        if self.error is not None:
            raise self.error
        if not self.room:
            raise BlockingIOError
        some = data[: self.room]
        self.room -= len(some)
        self.taken += some
        return len(some)

    def wait(self, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        return False

    def close(self) -> None: ...


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            with contextlib.suppress(OSError):
                os.close(fd)


def pipe_sink(fd: int) -> Sink:
    return Sink(FdTarget(fd, of_fd))


def fill(fd: int) -> int:
    """Fill a pipe, and return how many bytes that took."""
    target = of_fd(fd)
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += target.write(b"f" * 4096)
    target.close()
    return size


def read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


# ── targets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_pipe_says_not_now_and_stays_a_blocking_one_for_all_others() -> None:
    with pipe() as (_, writer):
        fill(writer)
        target = of_fd(writer)
        with pytest.raises(BlockingIOError):
            target.write(LINE)
        assert os.get_blocking(writer)
        target.close()


def test_a_pipe_that_may_not_be_opened_anew_is_written_to_without_waiting_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "not yours")

    with pipe() as (reader, writer):
        size = fill(writer)
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refused)
            target = of_fd(writer)
        with pytest.raises(BlockingIOError):
            target.write(LINE)
        read_exactly(reader, size)
        assert target.write(LINE) == len(LINE)
        assert os.read(reader, 1000) == LINE  # and nothing of what did not fit before
        assert os.get_blocking(writer)
        target.close()


def test_a_socket_is_sent_to_without_waiting_and_without_a_flag_on_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.setdefaulttimeout(5)  # with which Python makes every new socket object a non-blocking one
        try:
            target = of_fd(ours.fileno())
        finally:
            socket.setdefaulttimeout(None)
        with contextlib.suppress(BlockingIOError):
            while True:
                target.write(b"f" * 65536)
        with pytest.raises(BlockingIOError):
            target.write(LINE)
        assert os.get_blocking(ours.fileno())
        target.close()


def test_a_pipe_that_nobody_reads_any_more_is_broken_not_full() -> None:
    with pipe() as (reader, writer):
        os.close(reader)
        target = of_fd(writer)
        with pytest.raises(BrokenPipeError):
            target.write(LINE)
        target.close()


def test_a_file_is_appended_to_where_its_owner_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        file.write(b"before\n")
        sink = pipe_sink(file.fileno())
        sink.write(b"line\n")
        file.write(b"after\n")
    assert path.read_text() == "before\nline\nafter\n"


def test_another_file_in_the_same_place_is_found(tmp_path: Path) -> None:
    with pipe() as (reader, writer), (tmp_path / "log").open("wb") as file:
        sink = pipe_sink(writer)
        sink.write(b"one\n")
        os.dup2(file.fileno(), writer)
        sink.write(b"two\n")
        assert os.read(reader, 100) == b"one\n"
    assert (tmp_path / "log").read_bytes() == b"two\n"


# ── a worker's sink ─────────────────────────────────────────────────────────────────────────────────────────────────


def waiting(target: FakeTarget) -> Sink:
    sink = Sink(lambda: target, lambda count: f"dropped {count}\n".encode())
    sink.waits = True
    return sink


def test_a_worker_loses_nothing_to_a_reader_that_is_only_slow() -> None:
    with pipe() as (reader, writer):
        size = fill(writer)
        sink = pipe_sink(writer)
        sink.waits = True
        threading.Timer(0.1, read_exactly, (reader, size)).start()
        sink.write(LINE)
        assert os.read(reader, 1000) == LINE
        assert sink.dropped == 0


def test_a_worker_waits_for_a_sleeping_reader_once_and_then_hardly_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    target = FakeTarget(room=0)

    def wait(timeout_s: float) -> bool:
        target.waits.append(timeout_s)
        clock[0] += timeout_s
        return False

    target.wait = wait  # type: ignore[method-assign]
    sink = waiting(target)
    sink.write(LINE)
    for _ in range(1000):
        sink.write(LINE)
    assert sum(target.waits) == pytest.approx(1.0, abs=0.05)
    clock[0] += 10.0
    target.waits.clear()
    target.room = len("dropped 1001\n")
    sink.write(LINE)
    assert sum(target.waits) == pytest.approx(0.1, abs=0.01)  # a hundredth of the time that has passed
    assert sink.dropped == 1002


def test_what_was_dropped_is_counted_and_said_before_the_next_line_that_is_taken() -> None:
    target = FakeTarget()
    sink = waiting(target)
    target.error = OSError(errno.ENOSPC, "full")
    for _ in range(3):
        sink.write(b"lost\n")
    target.error = None
    sink.write(b"found\n")
    assert target.taken == b"dropped 3\nfound\n"
    assert sink.dropped == 3


def test_half_a_line_is_ended_before_the_next_one_begins() -> None:
    target = FakeTarget(room=2)
    sink = waiting(target)
    sink.write(b"lost\n")
    target.room = 1000
    sink.write(b"found\n")
    assert target.taken == b"lo\ndropped 1\nfound\n"


# ── a supervisor's sink ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_supervisor_never_waits_and_its_lines_arrive_in_order_when_somebody_reads() -> None:
    with pipe() as (reader, writer):
        size = fill(writer)
        sink = pipe_sink(writer)
        lines = [b"%d\n" % number for number in range(1000)]
        for line in lines:
            sink.write(line)
        expected = b"".join(lines)
        assert read_exactly(reader, size + len(expected))[size:] == expected
        sink.flush(10)
        assert sink.dropped == 0
        assert not [thread for thread in threading.enumerate() if thread.name == "workd-log"]


def test_what_a_supervisor_keeps_has_a_bound_and_the_rest_is_counted_and_said() -> None:
    with pipe() as (reader, writer):
        size = fill(writer)
        sink = pipe_sink(writer)
        line = b"x" * 9_999 + b"\n"
        count = BACKLOG_BYTES // len(line) + 50
        for _ in range(count):
            sink.write(line)
        assert 0 < sink.dropped <= 50
        found = read_exactly(reader, size)
        kept = count - sink.dropped
        found = read_exactly(reader, kept * len(line))
        assert found == line * kept
        assert os.read(reader, 1000) == f"workd: {sink.dropped} lines were dropped here: nothing took them\n".encode()
        sink.flush(10)


def test_what_a_full_disk_does_not_take_is_tried_again() -> None:
    target = FakeTarget()
    target.error = OSError(errno.ENOSPC, "full")
    sink = Sink(lambda: target)
    sink.write(b"one\n")
    sink.write(b"two\n")
    target.error = None
    eventually(lambda: target.taken == b"one\ntwo\n", timeout_s=10)
    sink.flush(10)
    assert sink.dropped == 0


def test_a_half_line_is_gone_on_with_and_not_begun_anew() -> None:
    target = FakeTarget(room=2)
    sink = Sink(lambda: target)
    sink.write(b"whole\n")
    sink.write(b"next\n")
    target.room = 1000
    eventually(lambda: target.taken == b"whole\nnext\n", timeout_s=10)
    sink.flush(10)


def test_a_child_of_a_fork_has_none_of_its_parents_lines() -> None:
    program = """
import os, sys
from workd.output.sink import Sink, FdTarget
from workd.output.targets import of_fd
reader, writer = os.pipe()
sink = Sink(FdTarget(writer, of_fd))
target = of_fd(writer)
try:
    while True: target.write(b"f" * 4096)
except BlockingIOError: pass
sink.write(b"parent\\n")
pid = os.fork()
if pid == 0:
    assert not sink._backlog and sink._carrier is None
    sink.write(b"child\\n")
    os._exit(0 if list(sink._backlog) == [b"child\\n"] or sink._backlog_bytes else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
os.read(reader, 65536)
sink.flush(10)
os.close(writer)
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ, timeout=60)
