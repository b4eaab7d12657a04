"""Entries of the journal, as journald reads them."""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.journald import Journald, decode
from workd.output import journal
from workd.output.journal import JournalTarget, encode, field_name
from workd.output.rendering import OWN, to_journal


def as_is(value: str) -> str:
    return value


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    with Journald(tmp_path / "socket") as found:
        yield found


def test_values_of_several_lines_are_written_with_their_length() -> None:
    raw = encode([("MESSAGE", "one\ntwo"), ("PRIORITY", "6"), ("ODD", "\ud800")])
    assert raw == b"MESSAGE\n" + struct.pack("<Q", 7) + b"one\ntwo\nPRIORITY=6\nODD=\\ud800\n"
    assert decode(raw) == {"MESSAGE": "one\ntwo", "PRIORITY": "6", "ODD": "\\ud800"}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("job_id", "JOB_ID"),
        ("took-s", "TOOK_S"),
        ("_private", "PRIVATE"),
        ("größe", "GR_SSE"),
        ("9lives", "WORKD_9LIVES"),
        ("message", "WORKD_MESSAGE"),
        ("priority", "WORKD_PRIORITY"),
        ("syslog_pid", "WORKD_SYSLOG_PID"),
        ("…", "FIELD"),
        ("x" * 100, "X" * 64),
    ],
)
def test_each_name_becomes_one_that_journald_takes(name: str, field: str) -> None:
    assert field_name(name) == field


def test_an_entry_has_what_people_read_and_what_programs_look_for() -> None:
    event = {
        "event": "dead letter", "level": "warning", "reason": "failed", "error": 'said "no"', "timestamp": "now",
        "job_id": "1-0", "task": "resize", "queue": "default", "daemon": "host:1:ab", "exception": "Traceback…\nline",
        OWN: ("reason", "error", "job_id"),
    }  # fmt: skip
    entry = decode(to_journal(event, as_is))
    assert entry["MESSAGE"] == 'dead letter reason=failed error="said \\"no\\"" job_id=1-0\nTraceback…\nline'
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "workd"
    assert (entry["JOB_ID"], entry["TASK"], entry["QUEUE"], entry["DAEMON"]) == (
        "1-0", "resize", "default", "host:1:ab"
    )  # fmt: skip
    assert entry["CODE_FILE"] == __file__
    assert entry["CODE_FUNC"] == "test_an_entry_has_what_people_read_and_what_programs_look_for"
    assert "TIMESTAMP" not in entry  # journald has its own


def test_secrets_are_hidden_before_lengths_are_counted() -> None:
    entry = decode(to_journal({"event": "password s3cret\nsecond line"}, lambda text: text.replace("s3cret", "***")))
    assert entry["MESSAGE"] == "password ***\nsecond line"


def test_an_entry_that_is_too_large_for_a_datagram_goes_in_a_sealed_file(journald: Journald) -> None:
    target = JournalTarget(str(journald.path))
    text = "x" * 5_000_000
    target.write(encode([("MESSAGE", text)]))
    assert journald.next()["MESSAGE"] == text
    assert journald.sealed == 1
    target.write(encode([("MESSAGE", "small")]))
    assert journald.next()["MESSAGE"] == "small"
    assert journald.sealed == 1
    target.close()


def test_a_journald_that_was_started_anew_is_found_again(journald: Journald) -> None:
    target = JournalTarget(str(journald.path))
    target.write(encode([("MESSAGE", "one")]))
    assert journald.next()["MESSAGE"] == "one"
    journald.stop()
    with pytest.raises(OSError, match=r"refused|No such file"):
        target.write(encode([("MESSAGE", "lost")]))
    journald.start()
    target.write(encode([("MESSAGE", "two")]))
    assert journald.next()["MESSAGE"] == "two"
    target.close()


def test_a_journald_that_reads_nothing_is_not_waited_for(journald: Journald) -> None:
    target = JournalTarget(str(journald.path))
    with contextlib.suppress(BlockingIOError):
        while True:
            target.write(encode([("MESSAGE", "x" * 1000)]))
    with pytest.raises(BlockingIOError):
        target.write(encode([("MESSAGE", "one more")]))
    assert not target.wait(0)
    journald.next()
    assert target.wait(10)
    target.close()


def test_stderr_is_the_journal_only_if_it_is_the_very_stream_that_systemd_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("wb") as stream:
        found = os.fstat(stream.fileno())
        told = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "stream"))
        assert journal.is_stderr(told, stream.fileno())
        assert not journal.is_stderr({}, stream.fileno())
        assert not journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}, stream.fileno())
        assert not journal.is_stderr({"JOURNAL_STREAM": "rubbish"}, stream.fileno())
        monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "nothing"))
        assert not journal.is_stderr(told, stream.fileno())  # a sandbox in which the native socket is not to be seen
