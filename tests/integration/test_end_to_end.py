"""A real daemon on real servers, used as producers use it: by hand, from Python, and from the command line."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from support import e2e_tasks
from support.daemons import DaemonProcess
from support.servers import DEBIAN_REDIS, Server, valkey_binary
from support.waiting import eventually
from workd import AsyncClient, Client, RedisPool
from workd.errors import JobCancelledError, JobExpiredError, JobFailedError
from workd_tasks import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Connection = Any
"""A plain connection; redis-py's own types say bytes or str or None for each reply."""
STREAM, INBOX, DEAD = "workd:{default}:stream", "workd:{default}:inbox", "workd:{default}:dead"
MODULES = ("workd_tasks.samples", "support.e2e_tasks")


@pytest.fixture(scope="module", params=["valkey", "redis"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one daemon on it."""
    if request.param == "redis" and not DEBIAN_REDIS.exists():
        pytest.skip(f"{DEBIAN_REDIS} is missing: install Debian's redis-server to run these tests on Redis too")
    binary = valkey_binary() if request.param == "valkey" else DEBIAN_REDIS
    with (
        Server(binary) as server,
        DaemonProcess(
            server.url, tmp_path_factory.mktemp("daemon"), modules=MODULES, unknown_task_s=1, max_message_bytes=100_000
        ) as daemon,
    ):
        daemon.wait_ready()
        yield server
        daemon.term()
        assert daemon.wait() == 0


@pytest.fixture
def connection(running: Server) -> Iterator[Connection]:
    """A plain connection, as redis-cli has one."""
    with running.client() as connection:
        yield connection


@pytest.fixture
def client(running: Server) -> Iterator[Client]:
    """A producer in Python."""
    with Client(running.url) as client:
        yield client


def outcome(connection: Connection, job_id: str) -> dict[str, Any]:
    """Wait for the outcome of a job and return it."""
    raw = eventually(lambda: connection.get(f"workd:{{default}}:result:{job_id}"), timeout_s=40)
    found: dict[str, Any] = json.loads(raw)
    return found


def dead_letters(connection: Connection) -> list[dict[bytes, bytes]]:
    """Return all dead letters."""
    return [fields for _, fields in connection.xrange(DEAD)]


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_added_to_the_stream_by_hand_is_run(connection: Connection) -> None:
    entry_id = connection.xadd(STREAM, {"m": '{"task":"square","args":[4],"result_ttl":60}'}).decode()
    found = outcome(connection, entry_id)
    assert found["value"] == 16
    assert (found["v"], found["id"], found["task"], found["status"]) == (1, entry_id, "square", "succeeded")
    assert (found["error"], found["attempts"], found["deliveries"]) == (None, 1, 1)
    assert found["enqueued_at"] <= found["started_at"] <= found["ended_at"] <= time.time()


def test_a_message_pushed_to_the_inbox_by_hand_is_run(connection: Connection) -> None:
    connection.rpush(INBOX, '{"task":"square","args":[5],"result_ttl":60,"id":"from-the-inbox"}')
    assert outcome(connection, "from-the-inbox")["value"] == 25
    assert connection.llen(INBOX) == 0


def test_nothing_is_kept_of_a_job_that_asks_for_nothing(connection: Connection) -> None:
    silent = connection.xadd(STREAM, {"m": '{"task":"noop"}'})
    last = connection.xadd(STREAM, {"m": '{"task":"noop","result_ttl":60}'}).decode()
    outcome(connection, last)
    eventually(lambda: connection.xlen(STREAM) == 0)
    assert not [key for key in connection.keys("workd:*") if silent in key]


def test_a_reply_stream_that_exists_gets_the_outcome_and_one_that_does_not_is_not_made(
    connection: Connection,
) -> None:
    connection.xadd("workd:{default}:reply:here", {"made": "by the producer"})
    connection.xadd(STREAM, {"m": '{"task":"square","args":[6],"reply_to":"nowhere"}'})
    connection.xadd(STREAM, {"m": '{"task":"square","args":[7],"reply_to":"here"}'})
    rows = eventually(lambda: (rows := connection.xrange("workd:{default}:reply:here")) and len(rows) == 2 and rows)
    assert rows
    assert json.loads(rows[1][1][b"m"])["value"] == 49
    assert not connection.exists("workd:{default}:reply:nowhere")


def test_a_reply_key_of_the_wrong_type_harms_nothing_but_that_reply(connection: Connection) -> None:
    connection.set("workd:{default}:reply:wrong", "mine")
    entry_id = connection.xadd(STREAM, {"m": '{"task":"square","args":[8],"reply_to":"wrong","result_ttl":60}'})
    assert outcome(connection, entry_id.decode())["value"] == 64
    assert connection.get("workd:{default}:reply:wrong") == b"mine"


@pytest.mark.parametrize(
    ("raw", "reason", "word"),
    [
        (b"garbage", b"invalid", b"JSON"),
        (b"[1,2]", b"invalid", b"object"),
        (b'{"args":[1]}', b"invalid", b"task"),
        (b'{"task":"square","color":"red"}', b"invalid", b"color"),
        (b'{"task":"square","args":4}', b"invalid", b"args"),
        (b'{"task":"square","args":["four"]}', b"invalid", b"integer"),
        (b'{"task":"square","args":[1,2]}', b"invalid", b"argument"),
        (b'{"task":"square","args":[1],"timeout":-1}', b"invalid", b"timeout"),
        (b'{"task":"nobody"}', b"unknown-task", b"nobody"),
        (b'{"task":"square","v":2}', b"unknown-task", b"version"),
        (b"\xff\xfe\xfd", b"invalid", b""),
        (b"x" * 200_000, b"too-large", b"max_message_bytes"),
        (b'{"task":"unfit"}', b"failed", b"JSON"),
        (b'{"task":"reject"}', b"rejected", b"not for me"),
    ],
    ids=lambda value: value[:24].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_bad_input_is_a_dead_letter_with_reason_error_and_raw_bytes_and_the_daemon_goes_on(
    connection: Connection, raw: bytes, reason: bytes, word: bytes
) -> None:
    connection.delete(DEAD)
    entry_id = connection.xadd(STREAM, {"m": raw})
    (letter,) = eventually(lambda: dead_letters(connection), timeout_s=40)
    assert letter[b"m"] == raw
    assert letter[b"id"] == entry_id
    assert letter[b"reason"] == reason
    assert word in letter[b"error"]
    good = connection.xadd(STREAM, {"m": '{"task":"square","args":[9],"result_ttl":60}'}).decode()
    assert outcome(connection, good)["value"] == 81


def test_an_entry_without_a_message_is_a_dead_letter_that_keeps_its_fields(connection: Connection) -> None:
    connection.delete(DEAD)
    connection.xadd(STREAM, {"message": "in the wrong field"})
    (letter,) = eventually(lambda: dead_letters(connection), timeout_s=40)
    assert (letter[b"m"], letter[b"reason"]) == (b"", b"invalid")
    assert json.loads(letter[b"entry"]) == {"message": "in the wrong field"}


@pytest.mark.parametrize(
    "fields",
    [
        {"t": "9" * 5000},
        {"t": "9" * 400},
        {"n": "99999999999999999999 0 0 0"},
        {"n": "9" * 400 + " 0 0 0"},
        {"n": "0 0 0 0 " + "9" * 400},
        {"id": "x" * 100_000},
        {"n": "garbage", "t": "-1", "s": "\xff"},
    ],
    ids=lambda fields: f"{next(iter(fields))}-{len(next(iter(fields.values())))}",
)
def test_fields_that_no_daemon_wrote_harm_neither_the_daemon_nor_the_job(
    connection: Connection, fields: dict[str, str]
) -> None:
    connection.delete(DEAD)
    message = {"task": "square", "args": [3], "result_ttl": 60, "id": f"forged-{len(repr(fields))}"}
    connection.xadd(STREAM, {"m": json.dumps(message), **fields})
    good = connection.xadd(STREAM, {"m": '{"task":"square","args":[9],"result_ttl":60}'}).decode()
    assert outcome(connection, good)["value"] == 81
    assert outcome(connection, str(message["id"]))["value"] == 9


# ── time, names ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failing_task_is_retried_with_backoff_until_it_succeeds(client: Client, tmp_path: Path) -> None:
    journal = tmp_path / "attempts"
    handle = client.enqueue(e2e_tasks.third_time, str(journal))
    assert handle.get(timeout=20) == 3
    assert journal.read_text() == "1\n2\n3\n"
    assert handle.outcome().attempts == 3


def test_a_task_that_fails_too_often_is_dead_with_its_own_traceback(client: Client, tmp_path: Path) -> None:
    handle = client.with_options(max_retries=0).enqueue(e2e_tasks.third_time, str(tmp_path / "attempts"))
    with pytest.raises(JobFailedError, match="not yet at attempt 1") as caught:
        handle.get(timeout=20)
    error = caught.value.outcome.error
    assert error is not None
    assert error.type == "ValueError"
    assert "third_time" in str(error.traceback)


def test_a_task_may_ask_for_its_own_retry(client: Client) -> None:
    assert client.enqueue(e2e_tasks.ask_again).get(timeout=20) == 2


def test_a_job_is_not_run_before_its_time(client: Client) -> None:
    due = time.time() + 0.5
    handle = client.with_options(run_at=due).enqueue(samples.square, 3)
    assert handle.get(timeout=20) == 9
    started_at = handle.outcome().started_at
    assert started_at is not None
    assert started_at >= due - 0.001


def test_a_job_that_has_not_started_in_time_is_expired(client: Client) -> None:
    handle = client.with_options(expires_at=time.time() - 1).enqueue(samples.square, 3)
    with pytest.raises(JobExpiredError):
        handle.get(timeout=20)


def test_a_second_message_with_the_same_id_is_a_duplicate_and_leaves_the_first_ones_result_alone(
    connection: Connection,
) -> None:
    connection.xadd("workd:{default}:reply:twins", {"made": "by the producer"})
    for number in (2, 3):
        message = {"task": "square", "args": [number], "id": "twin", "result_ttl": 60, "reply_to": "twins"}
        connection.xadd(STREAM, {"m": json.dumps(message)})
    rows = eventually(lambda: (rows := connection.xrange("workd:{default}:reply:twins")) and len(rows) == 3 and rows)
    assert rows
    told = [json.loads(fields[b"m"]) for _, fields in rows[1:]]
    assert {one["status"] for one in told} == {"succeeded", "cancelled"}
    assert next(one["error"]["type"] for one in told if one["status"] == "cancelled") == "duplicate"
    assert outcome(connection, "twin")["value"] == 4


def test_a_unique_key_admits_one_job_at_a_time_and_is_free_afterwards(client: Client) -> None:
    slow = client.with_options(unique="report").enqueue(samples.sleep, 0.5)
    with pytest.raises(JobCancelledError):
        client.with_options(unique="report").enqueue(samples.square, 2).get(timeout=20)
    slow.get(timeout=20)
    assert client.with_options(unique="report").enqueue(samples.square, 2).get(timeout=20) == 4


# ── from Python ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_readme(client: Client, running: Server) -> None:
    assert client.enqueue("square", 4).get(timeout=20) == 16
    with RedisPool(running.url) as pool:
        assert pool.map(samples.square, [1, 2, 3, 4]) == [1, 4, 9, 16]


def test_values_come_back_as_what_the_annotation_says(client: Client) -> None:
    when = dt.datetime(2026, 2, 28, 12, 0, tzinfo=dt.UTC)
    handle = client.enqueue(e2e_tasks.later, when, days=2)
    assert handle.get(timeout=20) == dt.datetime(2026, 3, 2, 12, 0, tzinfo=dt.UTC)


def test_the_context_knows_the_job(client: Client) -> None:
    handle = client.enqueue(e2e_tasks.who)
    assert handle.get(timeout=20) == {"id": handle.id, "task": "who", "attempt": 1, "delivery": 1}


async def test_the_asyncio_client_gets_its_results(running: Server) -> None:
    async with AsyncClient(running.url) as client:
        handles = [await client.enqueue(samples.square, number) for number in range(20)]
        assert [await handle.get(timeout=20) for handle in handles] == [number**2 for number in range(20)]


def test_many_jobs_from_one_call_all_come_back(client: Client) -> None:
    handles = client.enqueue_many(samples.square, [(number,) for number in range(1000)])
    assert [handle.get(timeout=20) for handle in handles] == [number**2 for number in range(1000)]


def test_a_task_may_have_its_results_kept_by_its_own_option(connection: Connection) -> None:
    entry_id = connection.xadd(STREAM, {"m": '{"task":"kept"}'}).decode()
    assert outcome(connection, entry_id)["value"] == "kept"
    assert 0 < connection.ttl(f"workd:{{default}}:result:{entry_id}") <= 60
