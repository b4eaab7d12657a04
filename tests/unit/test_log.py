import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from workd import log
from workd.output import printing
from workd.output.repeats import FREE, Repeats
from workd.output.secrets import Mask
from workd_tasks.context import Context, running


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    emit = printing.emit
    yield
    printing.render_with(emit)
    for sink in printing.sinks.values():
        sink.waits = False
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_what_was_bound(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", daemon="host:1:ab", pid=7)
    structlog.get_logger().info("job ended", job="1-0", took_s=0.5)
    (line,) = lines(capsys)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    del line["timestamp"]
    assert line == {
        "level": "info", "event": "job ended", "job": "1-0", "took_s": 0.5, "daemon": "host:1:ab", "pid": 7
    }  # fmt: skip


def test_the_standard_library_and_structlog_write_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", daemon="d")
    with structlog.contextvars.bound_contextvars(job="1-0"):
        logging.getLogger("a.library").warning("disk %s", "full", extra={"left_bytes": 3})
    (line,) = lines(capsys)
    expected = {"level": "warning", "event": "disk full", "logger": "a.library", "left_bytes": 3, "job": "1-0"}
    assert line.items() >= {**expected, "daemon": "d"}.items()


def test_lines_of_a_task_name_its_job_whoever_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    job = Context("1-0", "resize", attempt=2, delivery=3)
    with running(job), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("a.library").info("one")
        structlog.get_logger().info("two")
        job.log.info("three")
        warnings.warn("four", stacklevel=1)
        structlog.get_logger().info("five", task="other")
    structlog.get_logger().info("six")
    *inside, other, outside = lines(capsys)
    assert len(inside) == 4
    for line in inside:
        assert line.items() >= {"job_id": "1-0", "task": "resize", "delivery": 3, "attempt": 2}.items()
    assert other["task"] == "other"
    assert "job_id" not in outside


def test_fields_with_the_names_of_a_lines_own_take_nothing_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    extra = {"event": "signup", "level": 3, "timestamp": "noon", "logger": "mine", "_record": 1, "size": 4}
    logging.getLogger("a.library").warning("somebody\nsigned up", extra=extra)
    structlog.get_logger().info("and", level=5, timestamp=0)
    by_logging, by_structlog = lines(capsys)
    timestamps = [by_logging.pop("timestamp"), by_structlog.pop("timestamp")]
    assert all(str(one).endswith("Z") for one in timestamps)
    assert by_logging == {
        "level": "warning", "event": "somebody\nsigned up", "logger": "a.library",
        "event_": "signup", "level_": 3, "timestamp_": "noon", "logger_": "mine", "_record_": 1, "size": 4,
    }  # fmt: skip
    assert by_structlog == {"level": "info", "event": "and", "level_": 5, "timestamp_": 0}


def test_in_the_journal_too_a_record_keeps_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[bytes] = []
    monkeypatch.setattr(log._journal, "write", entries.append)
    log.configure("info", "journal")
    logging.getLogger("a.library").warning("full", extra={"event": "disk", "level": 3})
    (entry,) = entries
    fields = dict(one.split(b"=", 1) for one in entry.splitlines())
    assert fields[b"MESSAGE"] == b"full event_=disk level_=3"
    assert (fields[b"PRIORITY"], fields[b"LEVEL"], fields[b"EVENT"]) == (b"4", b"3", b"disk")


def test_what_a_line_says_itself_wins(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", pid=7)
    structlog.get_logger().info("worker died", pid=8)
    assert lines(capsys)[0]["pid"] == 8


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "json")
    structlog.get_logger().info("no")
    logging.getLogger("x").info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_configuring_again_replaces_everything(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("error", "json", daemon="old", pid=1)
    logger = structlog.get_logger()
    logger.error("before")
    log.configure("info", "json", daemon="new")
    logger.info("after")
    logging.getLogger("x").info("after")
    before, *after = lines(capsys)
    assert before["daemon"] == "old"
    assert [line["daemon"] for line in after] == ["new", "new"]
    assert all("pid" not in line for line in after)


def test_exceptions_are_part_of_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    try:
        dict[str, str]()["gone"]
    except KeyError:
        structlog.get_logger().exception("failed")
        logging.getLogger("x").exception("failed")
    for line in lines(capsys):
        assert "KeyError: 'gone'" in line["exception"]


def test_whatever_is_logged_becomes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    circular: list[object] = []
    circular.append(circular)
    logger = structlog.get_logger()
    logger.info("odd", a={1, 2}, b=b"\xff", c=object, d="\ud800", e="täglich")
    logger.info("circular", value=circular)
    logger.info("keys", value={(1, 2): 3})
    odd, *others = lines(capsys)
    assert (odd["a"], odd["e"]) == ("{1, 2}", "täglich")
    assert [line["event"] for line in others] == ["'circular'", "'keys'"]


def test_python_warnings_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning("old ways", DeprecationWarning, "tasks.py", 3)
    (line,) = lines(capsys)
    assert line["level"] == "warning"
    assert "old ways" in line["event"]


def test_a_terminal_gets_words_and_a_pipe_gets_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log.chosen("auto") == "json"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert log.chosen("auto") == "console"
    assert log.chosen("json") == "json"
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure("info", "auto", daemon="d")
    structlog.get_logger().info("started", workers=4)
    written = capsys.readouterr().err
    assert "started" in written
    assert "workers=4" in written
    assert "\x1b" not in written


def test_a_reader_that_is_gone_is_no_reason_to_fail() -> None:
    program = """
import sys, logging, structlog
from workd import log
log.configure("info", "json")
sys.stdin.readline()
structlog.get_logger().info("one")
logging.getLogger("x").warning("two")
print("alive", flush=True)
"""
    reader, writer = os.pipe()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=writer, text=True, env=environ
    )
    with process, contextlib.closing(os.fdopen(writer)):
        os.close(reader)
        out, _ = process.communicate("go\n", timeout=30)
    assert out == "alive\n"


def test_loading_it_loads_no_rich_and_leaves_rich_to_whoever_wants_it() -> None:
    code = "import sys; from workd import log; assert 'rich' not in sys.modules; import rich.console"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})


def test_what_is_bound_later_is_in_each_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", daemon="d")
    log.bind(worker_pid=7)
    structlog.get_logger().info("one")
    logging.getLogger().info("two")
    assert [(line["daemon"], line["worker_pid"]) for line in lines(capsys)] == [("d", 7), ("d", 7)]


def test_the_daemon_does_not_repeat_itself_and_tells_in_the_end_what_it_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json", daemon="d")
    for number in range(100):
        structlog.get_logger().warning("dead letter", job_id=str(number))
        logging.getLogger("redis").warning("no connection")
    log.flush()
    said = lines(capsys)
    for event in ("dead letter", "no connection"):
        mine = [line for line in said if line["event"] == event]
        assert len(mine) + sum(line.get("repeated", 0) for line in mine) == 100
        assert len(mine) == FREE + 1
        assert mine[-1]["daemon"] == "d"
    assert [line["job_id"] for line in said if line["event"] == "dead letter"][-1] == "99"


async def test_what_was_left_out_is_told_when_its_time_has_come(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    timers: list[tuple[float, Any]] = []
    monkeypatch.setattr(loop, "call_later", lambda delay_s, call: timers.append((delay_s, call)))
    log.configure("info", "json")
    clock = [1000.0]
    log._state.repeats = Repeats(lambda: clock[0])
    for _ in range(FREE + 5):
        structlog.get_logger().warning("dead letter")
    capsys.readouterr()
    [(delay_s, tell)] = timers
    clock[0] += delay_s
    tell()
    assert [line["repeated"] for line in lines(capsys)] == [4]


def test_what_tasks_say_is_said_however_often(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json", of_tasks=True)
    for _ in range(100):
        logging.getLogger("mine").warning("again")
    assert len(lines(capsys)) == 100


def test_secrets_are_in_no_line_whoever_writes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_mask", Mask())
    log.configure("info", "json")
    log.hide(['s3cret"word'])
    structlog.get_logger().info("signing in", url='redis://:s3cret"word@host')
    try:
        int('s3cret"word')
    except ValueError:
        logging.getLogger("redis").exception("failed with %r", 's3cret"word')
    written = capsys.readouterr().err
    assert "s3cret" not in written
    assert "redis://:***@host" in written


def test_a_printed_line_is_a_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("error", "json", daemon="d")  # what is printed has no level to be under
    with running(Context("1-0", "resize", queue="images")):
        print("hello", file=printing.Stream("stderr", 2))
    (line,) = lines(capsys)
    del line["timestamp"]
    assert line == {
        "level": "info", "event": "hello", "stream": "stderr", "job_id": "1-0", "task": "resize", "delivery": 1,
        "attempt": 1, "queue": "images", "daemon": "d",
    }  # fmt: skip
