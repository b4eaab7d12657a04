"""Bad input costs nothing: it goes to the dead letters with its reason and its bytes, and the daemon goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import QUEUE, STREAM, FaultQueue
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MESSAGE_BYTES = 100_000
UNKNOWN_TASK_S = 2.0

NOT_MESSAGES = {
    "nothing at all": b"",
    "not JSON": b"square 4",
    "half a JSON": b'{"task":"quick","args":[',
    "two JSONs": b'{"task":"quick"}{"task":"quick"}',
    "invalid UTF-8": b'{"task":"quick","args":["\xff\xfe"]}',
    "a lone surrogate": b'{"task":"\\ud800"}',
    "only zeros": bytes(1000),
    "a list": b'["quick", 4]',
    "a number": b"42",
    "null": b"null",
    "no task": b'{"args":[4]}',
    "an unknown field": b'{"task":"quick","prio":1}',
    "a task that is a number": b'{"task":4}',
    "args that are an object": b'{"task":"quick","args":{"number":4}}',
    "kwargs that are an array": b'{"task":"quick","kwargs":[4]}',
    "a timeout that is a word": b'{"task":"quick","timeout":"soon"}',
    "a timeout of zero": b'{"task":"quick","timeout":0}',
    "retries below zero": b'{"task":"quick","max_retries":-1}',
    "an id that is too long": b'{"task":"quick","id":"' + b"x" * 129 + b'"}',
    "an id that is empty": b'{"task":"quick","id":""}',
    "a reply_to that is a key": b'{"task":"quick","reply_to":"workd:{default}:stream"}',
    "a time that is none": b'{"task":"quick","run_at":"tomorrow"}',
    "a version that is a word": b'{"task":"quick","v":"1"}',
    "deep nesting": b'{"task":"quick","args":[' + b"[" * 40_000 + b"]" * 40_000 + b"]}",
    "a number without end": b'{"task":"quick","timeout":' + b"9" * 5_000 + b"}",
    "NaN": b'{"task":"quick","timeout":NaN}',
}

WRONG_ARGUMENTS: dict[str, dict[str, Any]] = {
    "a wrong type": {"args": ["three"]},
    "a number that is a text": {"args": ["3"]},
    "too many": {"args": [1, "x", 2]},
    "too few": {},
    "an unknown name": {"args": [1], "kwargs": {"nme": "x"}},
    "one given twice": {"args": [1], "kwargs": {"count": 2}},
    "null": {"args": [None]},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultQueue, DaemonProcess]]:
    """One daemon on a server of its own for all that is thrown at it here."""
    folder = tmp_path_factory.mktemp("bad-input")
    limits: dict[str, Any] = {"unknown_task_s": UNKNOWN_TASK_S, "max_message_bytes": MAX_MESSAGE_BYTES}
    with Server(valkey_binary()) as server, DaemonProcess(server.url, folder, **limits) as daemon:
        daemon.wait_ready()
        queue = FaultQueue(server, folder)
        yield queue, daemon
        queue.close()


@pytest.fixture
def bad_queue(served: tuple[FaultQueue, DaemonProcess]) -> Iterator[FaultQueue]:
    """The queue. After each test the daemon is the same, its workers are the same, and it runs jobs."""
    queue, daemon = served
    workers = set(daemon.worker_pids())
    yield queue
    queue.succeeded(queue.push("quick", 1), value=1, deliveries=1)
    assert daemon.alive
    assert set(daemon.worker_pids()) == workers
    assert not daemon.log("a worker died under a job")
    queue.assert_empty()


def assert_dead(queue: FaultQueue, daemon: DaemonProcess, job: str, reason: str, raw: bytes) -> str:
    """See that a job is one dead letter with these bytes and one warning; return the error's message."""
    letter = queue.dead_letter(job)
    assert letter["reason"] == reason.encode()
    assert letter["m"] == raw
    error = json.loads(letter["error"])
    assert error["type"]
    assert error["message"]
    told = eventually(lambda: [line for line in daemon.log("dead letter") if line["job_id"] == job])
    assert told is not None
    assert [(line["level"], line["reason"]) for line in told] == [("warning", reason)]
    return str(error["message"])


@pytest.mark.parametrize("raw", NOT_MESSAGES.values(), ids=NOT_MESSAGES)
def test_what_is_no_message_is_a_dead_letter(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess], raw: bytes
) -> None:
    job = bad_queue.push_raw(raw)
    assert_dead(bad_queue, served[1], job, "invalid", raw)
    assert not bad_queue.outcomes(job), "nobody can have asked for an outcome"


@pytest.mark.parametrize(
    "raw", [NOT_MESSAGES["not JSON"], NOT_MESSAGES["invalid UTF-8"], NOT_MESSAGES["an unknown field"]]
)
def test_what_comes_by_the_inbox_fares_no_better(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess], raw: bytes
) -> None:
    before = len(bad_queue.dead_letters())
    bad_queue.client.rpush(keys.inbox(QUEUE), raw)
    letters = eventually(lambda: bad_queue.dead_letters()[before:])
    assert letters is not None
    assert [(letter["reason"], letter["m"]) for letter in letters] == [(b"invalid", raw)]


@pytest.mark.parametrize("rest", WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_arguments_that_do_not_fit_are_a_dead_letter(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess], rest: dict[str, Any]
) -> None:
    raw = json.dumps({"task": "exact", "reply_to": "test"} | rest).encode()
    job = bad_queue.push_raw(raw)
    assert "exact" in assert_dead(bad_queue, served[1], job, "invalid", raw)
    bad_queue.ended(job, status="dead", attempts=0, deliveries=0)
    assert not bad_queue.runs(job)


@pytest.mark.parametrize("raw", [b"x" * 10_000_000, b'{"task":"quick","args":[' + b"1," * 60_000 + b"1]}"])
def test_what_is_too_large_is_a_dead_letter_with_all_its_bytes(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess], raw: bytes
) -> None:
    assert "max_message_bytes" in assert_dead(bad_queue, served[1], bad_queue.push_raw(raw), "too-large", raw)


def test_an_unknown_task_and_an_unknown_version_are_tried_again_for_a_while_and_then_dead(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    raws = [b'{"task":"nobody-knows-me"}', b'{"task":"quick","v":2}']
    for job, raw in [(bad_queue.push_raw(raw), raw) for raw in raws]:
        assert_dead(bad_queue, served[1], job, "unknown-task", raw)
        waited_s = float(bad_queue.dead_letter(job)["at"]) - int(job.partition("-")[0]) / 1000
        # The time of the first look is kept in whole seconds.
        assert UNKNOWN_TASK_S - 1.0 <= waited_s < UNKNOWN_TASK_S + 1.0
        assert not bad_queue.runs(job)


def test_an_entry_without_a_message_is_a_dead_letter_with_all_its_fields(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    entry = bad_queue.client.xadd(STREAM, {"message": '{"task":"quick"}', "raw": b"\xff"})
    job = str(entry, "ascii")
    assert "no field `m`" in assert_dead(bad_queue, served[1], job, "invalid", b"")
    fields = json.loads(bad_queue.dead_letter(job)["entry"])
    assert fields == {"message": '{"task":"quick"}', "raw": "\\xff"}


@pytest.mark.parametrize("fields", [{"n": "x"}, {"n": "1 2"}, {"t": "-1"}, {"id": b"\xff"}, {"s": b"\0"}, {"x": ""}])
def test_an_entry_with_fields_that_only_a_daemon_writes_does_no_harm(
    bad_queue: FaultQueue, fields: dict[str, Any]
) -> None:
    before = len(bad_queue.outcomes())
    raw = json.dumps({"task": "quick", "args": [7], "reply_to": "test"})
    bad_queue.client.xadd(STREAM, {"m": raw} | fields)
    found = eventually(lambda: bad_queue.outcomes()[before:])
    assert found is not None
    assert (found[0]["status"], found[0]["value"]) == ("succeeded", 7)


def test_a_result_that_json_cannot_hold_is_a_dead_letter(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    job = bad_queue.push("not_json", max_retries=5)
    letter = bad_queue.dead_letter(job)
    assert_dead(bad_queue, served[1], job, "failed", letter["m"])
    bad_queue.ended(job, status="dead", attempts=1, deliveries=1)
    assert len(bad_queue.runs(job)) == 1


def test_a_result_that_is_too_large_is_a_dead_letter(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    job = bad_queue.push("large", MAX_MESSAGE_BYTES + 1, max_retries=5)
    letter = bad_queue.dead_letter(job)
    assert_dead(bad_queue, served[1], job, "too-large", letter["m"])
    bad_queue.ended(job, status="dead", attempts=1, deliveries=1)


def test_a_task_that_refuses_its_job_makes_it_a_dead_letter(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    job = bad_queue.push("refuse", "the account is closed", max_retries=5)
    letter = bad_queue.dead_letter(job)
    assert assert_dead(bad_queue, served[1], job, "rejected", letter["m"]) == "the account is closed"
    bad_queue.ended(job, status="dead", attempts=1, deliveries=1)


def test_good_messages_among_bad_ones_are_all_run(
    bad_queue: FaultQueue, served: tuple[FaultQueue, DaemonProcess]
) -> None:
    good, bad = [], []
    for number, raw in enumerate(list(NOT_MESSAGES.values()) * 4):
        bad.append(bad_queue.push_raw(raw))
        good.append(bad_queue.push("quick", number))
    outcomes = bad_queue.all_ended(good)
    assert [outcomes[job]["value"] for job in good] == list(range(len(good)))
    eventually(lambda: {str(letter["id"], "ascii") for letter in bad_queue.dead_letters()} >= set(bad))
