"""A log target that is slow, full, broken or gone costs lines, and never a job."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.journald import Journald
from support.log_targets import DaemonOn, PipeReader, with_journal, with_patience
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.fault_queue import FaultQueue

BUSY_S = 60.0  # eight others may use this machine
DROPPED = "lines of the log were dropped here: nothing took them"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def close(fd: int) -> None:
    os.close(fd)


def run_talkative_jobs(queue: FaultQueue, jobs: int = 6) -> None:
    """Run jobs that print more than any pipe holds, and some whose end the supervisor has something to say about."""
    ids = [queue.push("say", "x" * 100, 2_000) for _ in range(jobs)]
    queue.all_ended(ids, BUSY_S)
    failing = [queue.push("fail") for _ in range(30)]
    assert {outcome["status"] for outcome in queue.all_ended(failing, BUSY_S).values()} == {"dead"}


def drain(daemon: DaemonOn) -> None:
    daemon.term()
    assert daemon.wait(BUSY_S) == 0


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_pipe_that_nobody_reads_stops_neither_a_job_nor_the_drain(
    queue: FaultQueue, tmp_path: Path, pipe: tuple[int, int], form: str
) -> None:
    _, writer = pipe
    with DaemonOn(queue.server.url, tmp_path, writer, log_format=form, log_level="debug") as daemon:
        run_talkative_jobs(queue)
        assert os.get_blocking(writer)  # a flag of the pipe that others share is left alone
        drain(daemon)


def test_what_was_dropped_is_said_once_somebody_reads_again(
    queue: FaultQueue, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    with DaemonOn(queue.server.url, tmp_path, writer, workers=1) as daemon:
        queue.succeeded(queue.push("say", "x" * 100, 3_000), BUSY_S)
        read = PipeReader(reader).start()
        eventually(read.has_all, BUSY_S)  # there is room again, which the worker finds out with its next line
        queue.succeeded(queue.push("say", "after", 1), BUSY_S)
        said = eventually(lambda: [line for line in read.lines() if line["event"] == DROPPED], BUSY_S)
        before = [line for line in read.lines() if line["event"].startswith("x")]
        assert sum(line["dropped"] for line in said) + len(before) == 3_000
        assert said[0]["level"] == "warning"
        drain(daemon)


def test_a_reader_that_is_only_slow_gets_every_line(queue: FaultQueue, tmp_path: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    environment = with_patience(tmp_path, BUSY_S)  # how long it is by itself, tests of the sink say
    with DaemonOn(queue.server.url, tmp_path, writer, workers=2, environment=environment) as daemon:
        read = PipeReader(reader).start()
        ids = [queue.push("say", f"job {number}", 1_000) for number in range(4)]
        queue.all_ended(ids, BUSY_S)
        drain(daemon)
        close(writer)
        read.wait_end()
    said = [line for line in read.lines() if line.get("stream") == "stdout"]
    assert {id: [line["event"] for line in said if line["job_id"] == id] for id in ids} == {
        id: [f"job {number} {time}" for time in range(1_000)] for number, id in enumerate(ids)
    }


def test_a_reader_that_is_gone_stops_nothing(queue: FaultQueue, tmp_path: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with DaemonOn(queue.server.url, tmp_path, writer) as daemon:
        queue.succeeded(queue.push("say", "before"), BUSY_S)
        close(reader)
        run_talkative_jobs(queue, jobs=2)
        drain(daemon)


def test_a_daemon_without_stdout_and_stderr_runs_jobs(queue: FaultQueue, tmp_path: Path) -> None:
    with DaemonOn(queue.server.url, tmp_path, None) as daemon:
        run_talkative_jobs(queue, jobs=2)
        for pid in (daemon.pid, *daemon.worker_pids()):
            links = [str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (1, 2)]
            assert links == ["/dev/null", "/dev/null"]
        drain(daemon)


def test_a_full_disk_stops_nothing(queue: FaultQueue, tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with DaemonOn(queue.server.url, tmp_path, full) as daemon:
            run_talkative_jobs(queue, jobs=2)
            drain(daemon)
    finally:
        os.close(full)


def test_a_terminal_that_was_stopped_or_hung_up_stops_nothing(queue: FaultQueue, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        with DaemonOn(queue.server.url, tmp_path, theirs, log_format="auto") as daemon:
            queue.succeeded(queue.push("say", "before"), BUSY_S)
            run_talkative_jobs(queue, jobs=2)  # nobody reads our end
            assert os.get_blocking(theirs)
            os.close(ours)
            run_talkative_jobs(queue, jobs=2)
            drain(daemon)
    finally:
        for fd in (ours, theirs):
            with contextlib.suppress(OSError):
                os.close(fd)


# ── the journal ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stream() -> Iterator[socket.socket]:
    """What a service of systemd has as its stderr."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield theirs


def read_until(journald: Journald, message: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    entries = [journald.next()]
    while message not in entries[-1]["MESSAGE"]:
        entries.append(journald.next())
    return entries[-1], entries


def on_journal(queue: FaultQueue, folder: Path, journald: Journald, stream: socket.socket, **more: Any) -> DaemonOn:
    environment = with_journal(folder, journald.path, stream.fileno())
    return DaemonOn(
        queue.server.url, folder, stream.fileno(), environment=environment, log_format="auto", workers=1, **more
    )


def test_under_systemd_lines_are_entries_of_the_journal_with_the_job_in_fields(
    queue: FaultQueue, tmp_path: Path, stream: socket.socket
) -> None:
    with Journald(tmp_path / "journal") as journald, on_journal(queue, tmp_path, journald, stream) as daemon:
        ready, _ = read_until(journald, "ready")
        job = queue.push("talk", "word")
        _, entries = read_until(journald, "tail word")
        queue.succeeded(job, BUSY_S)
        said = {entry["MESSAGE"].partition("\n")[0]: entry for entry in entries}
        drain(daemon)
    assert ready["DAEMON"].count(":") == 2
    assert ready["MESSAGE"].startswith("ready workers=1 queues=")
    assert ready["PRIORITY"] == "6"
    assert ready["SYSLOG_IDENTIFIER"] == "workd"
    for message in ("printed word", "written word", "bytes word ä", "in a thread word", "tail word", "by context word"):
        assert said[message]["JOB_ID"] == job, message
        assert said[message]["TASK"] == "talk"
        assert said[message]["QUEUE"] == "default"
        assert said[message]["DAEMON"] == ready["DAEMON"]
    assert said["by context word"]["MESSAGE"] == "by context word\nin two lines"
    logged = said["logged word left_bytes=3 priority=high"]
    assert (logged["PRIORITY"], logged["LEFT_BYTES"], logged["WORKD_PRIORITY"]) == ("4", "3", "high")
    assert logged["CODE_FILE"].endswith("support/log_tasks.py")
    assert logged["CODE_FUNC"] == "talk"
    assert said["structured word took_s=0.5"]["CODE_FUNC"] == "talk"
    caught = said["caught word"]
    assert caught["PRIORITY"] == "3"
    assert caught["MESSAGE"].endswith("KeyError: 'word'")


def test_a_journald_that_reads_nothing_or_is_started_anew_stops_nothing(
    queue: FaultQueue, tmp_path: Path, stream: socket.socket
) -> None:
    with Journald(tmp_path / "journal") as journald, on_journal(queue, tmp_path, journald, stream) as daemon:
        read_until(journald, "ready")
        run_talkative_jobs(queue, jobs=2)  # nobody reads meanwhile
        journald.stop()
        run_talkative_jobs(queue, jobs=2)
        journald.start()
        queue.succeeded(queue.push("say", "after"), BUSY_S)
        entries = [journald.until(lambda entry: "SLOT" in entry and DROPPED in entry["MESSAGE"])]
        assert int(entries[0]["DROPPED"]) > 0
        journald.until(lambda entry: entry["MESSAGE"] == "after 0")
        drain(daemon)
