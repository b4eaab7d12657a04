"""Groups and chains with a real daemon on a real server, as producers use them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from support import group_tasks as t
from support.daemons import DaemonProcess
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd import AsyncClient, Client, chain, group, step
from workd.broker import keys
from workd.errors import InvalidJobError, JobCancelledError, JobFailedError, ResultTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workd import Step


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one daemon on it, that serves two queues."""
    with (
        Server(valkey_binary()) as server,
        DaemonProcess(
            server.url,
            tmp_path_factory.mktemp("daemon"),
            modules=("support.group_tasks",),
            queues="default,images",
            max_message_bytes=200_000,
            lease_s=1.5,
            cancel_grace_s=0.2,
        ) as daemon,
    ):
        daemon.wait_ready()
        yield server
        daemon.term()
        assert daemon.wait() == 0


@pytest.fixture
def client(running: Server) -> Iterator[Client]:
    """A producer."""
    with Client(running.url) as client:
        yield client


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# ── groups ──


def test_a_group_of_a_thousand_of_which_ten_fail_runs_its_callback_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "callback"
    members = (step(t.odd_one_out, number, 100) for number in range(1000))
    handle = client.enqueue_group(group(*members, then=step(t.collect, str(path), name="end")))
    assert len(handle.members) == 1000
    assert handle.callback is not None
    summary = handle.callback.get(timeout=30)
    assert summary == {
        "id": handle.id,
        "total": 1000,
        "succeeded": 990,
        "failed": 10,
        "unfinished": 0,
        "sealed": True,
    }
    assert handle.wait(5)
    assert handle.summary(5) == (handle.id, 1000, 990, 10, 0, True, None)
    assert handle.progress() == (1000, 1000, 990, 10, True, True)
    assert handle.members[1].get(20) == 1
    with pytest.raises(JobFailedError, match="0 is one of them"):
        handle.results(5)
    assert lines(path) == [f"{handle.id} end"]


def test_results_are_in_the_order_of_the_members(client: Client) -> None:
    handle = client.enqueue_group(group(*(step(t.double, number) for number in range(30))))
    assert handle.results(10) == [2 * number for number in range(30)]
    assert handle.summary(5).all_succeeded


def test_members_are_given_as_they_end(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    handle = client.enqueue_group(group(step(t.wait_for, str(gate), 1), step(t.double, 2)))
    ended = iter(handle)
    assert next(ended).get(0) == 4
    gate.touch()
    assert next(ended).get(0) == 1
    assert list(ended) == []


def test_a_group_keeps_its_members_outcomes_where_that_was_asked_for(client: Client) -> None:
    members = [step(t.odd_one_out, 3, 2), step(t.odd_one_out, 4, 2), step(t.whole, 2**70), step(t.large, 100_000)]
    handle = client.enqueue_group(group(*members, results=True))
    outcomes = handle.summary(10).outcomes
    assert outcomes is not None
    ids = [member.id for member in handle.members]
    assert outcomes[0] == {"id": ids[0], "status": "succeeded", "value": 3, "error": None}
    assert outcomes[1] == {
        "id": ids[1],
        "status": "dead",
        "value": None,
        "error": {"type": "ValueError", "message": "4 is one of them"},
    }
    assert outcomes[2]["value"] == 2**70
    assert outcomes[3]["value"] == "x" * 100_000


def test_outcomes_for_which_there_is_no_room_are_left_out(client: Client) -> None:
    handle = client.enqueue_group(group(*(step(t.large, 100_000) for _ in range(8)), results=True))
    outcomes = handle.summary(10).outcomes
    assert outcomes is not None
    omitted = [outcome for outcome in outcomes if outcome.get("omitted")]
    assert len(omitted) == 3
    assert omitted[0].keys() == {"id", "status", "omitted"}


def test_retries_and_crashes_of_a_member_are_not_ends(client: Client) -> None:
    handle = client.enqueue_group(group(step(t.second_time, 1), step(t.crash_once, 2), step(t.double, 3)))
    assert handle.summary(15) == (handle.id, 3, 3, 0, 0, True, None)
    assert handle.results(5) == [1, 2, 6]


def test_at_the_deadline_the_callback_runs_with_what_has_ended(client: Client, tmp_path: Path) -> None:
    gate, path = tmp_path / "gate", tmp_path / "callback"
    started = time.time()
    handle = client.enqueue_group(
        group(
            step(t.double, 1),
            step(t.wait_for, str(gate), 7),
            then=step(t.collect, str(path)),
            deadline_s=1.5,
        )
    )
    assert handle.callback is not None
    summary = handle.callback.get(timeout=20)
    assert time.time() - started >= 1.5
    assert (summary["succeeded"], summary["failed"], summary["unfinished"]) == (1, 0, 1)
    gate.touch()
    assert handle.members[1].get(20) == 7  # it was left alone, and ended
    assert lines(path) == [f"{handle.id} "]


def test_with_cancel_rest_what_has_not_ended_by_the_deadline_is_cancelled(client: Client, tmp_path: Path) -> None:
    waiting = [step(t.wait_for, str(tmp_path / "never")) for _ in range(4)]  # two run, two are queued
    handle = client.enqueue_group(group(*waiting, deadline_s=1, cancel_rest=True))
    assert handle.summary(10).unfinished == 4
    for member in handle.members:
        with pytest.raises(JobCancelledError):
            member.get(20)


def test_a_cancelled_group_ends_with_its_members_cancelled_and_its_callback_runs(
    client: Client, tmp_path: Path
) -> None:
    waiting = [step(t.wait_for, str(tmp_path / "never")) for _ in range(5)]
    handle = client.enqueue_group(group(step(t.double, 1), *waiting, then=step(t.collect)))
    handle.members[0].get(20)
    handle.cancel()
    assert handle.callback is not None
    summary = handle.callback.get(15)
    assert (summary["succeeded"], summary["failed"], summary["unfinished"]) == (1, 5, 0)


def test_a_group_whose_producer_gave_up_in_the_middle_ends_at_its_deadline(client: Client, running: Server) -> None:
    def members() -> Iterator[Step[int]]:
        yield from (step(t.double, number) for number in range(1200))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        client.enqueue_group(group_of(members(), id="half", deadline_s=2))
    summary = client.group("half").summary(10)
    assert (summary.sealed, summary.total, summary.succeeded) == (
        False,
        500,
        500,
    )  # what has been looked at but not been sent is nowhere
    with running.client() as connection:
        assert connection.zcard(keys.groups("default")) == 0


def group_of(members: Any, **options: Any) -> Any:
    from workd import Group

    return Group(members, **options)


def test_a_large_group_is_enqueued_in_many_calls(client: Client) -> None:
    handle = client.enqueue_group(group_of((step(t.double, number) for number in range(3_000)), results=True))
    summary = handle.summary(30)
    assert (summary.total, summary.succeeded) == (3000, 3000)
    assert summary.outcomes is not None
    assert [outcome["value"] for outcome in summary.outcomes] == [2 * number for number in range(3_000)]


def test_a_group_can_be_waited_for_by_whoever_knows_its_id(client: Client, running: Server) -> None:
    handle = client.enqueue_group(group(step(t.double, 1), id="known"))
    assert handle.wait(10)
    with Client(running.url) as other:
        assert other.group("known").summary(5).succeeded == 1
        with pytest.raises(ResultTimeoutError):
            other.group("unknown").summary(0.1)
    with pytest.raises(InvalidJobError, match="there is a group of that id"):
        client.enqueue_group(group(step(t.double, 1), id="known"))


def test_chains_in_a_group_count_as_one_member_each(client: Client) -> None:
    members = [step(t.double, number).then(t.add, 1) for number in range(5)]
    failing = step(t.double, 1).then(t.odd_one_out, 2).then(t.add, 1)
    handle = client.enqueue_group(group(*members, failing, then=step(t.collect).then(t.whole), results=True))
    assert handle.callback is not None
    summary = handle.callback.get(20)
    assert (summary["total"], summary["succeeded"], summary["failed"]) == (6, 5, 1)
    assert [outcome["value"] for outcome in summary["outcomes"]] == [1, 3, 5, 7, 9, None]
    assert summary["outcomes"][5]["error"]["message"] == "step 2 of 3 (odd_one_out): 2 is one of them"
    assert [member.get(20) for member in handle.members[:5]] == [1, 3, 5, 7, 9]


# ── chains ──


def test_the_value_of_each_step_is_the_first_argument_of_the_next(client: Client) -> None:
    handle = client.enqueue_chain(step(t.double, 3).then(t.add, 4).then(t.add, other=5))
    assert handle.get(20) == 15


def test_a_chain_of_five_goes_over_two_queues_and_ends_where_it_began(client: Client, running: Server) -> None:
    work = chain(
        step(t.double, 1),
        step(t.add, 10).with_options(queue="images"),
        step(t.double).with_options(queue="images"),
        step(t.add, 100),
        step(t.double).with_options(queue="images"),
    )
    handle = client.enqueue_chain(work)
    assert handle.get(15) == 248
    with running.client() as connection:
        kept = json.loads(connection.get(keys.result("default", handle.id)) or b"")
        assert (kept["id"], kept["value"], kept["task"]) == (handle.id, 248, "double")
        assert connection.get(keys.result("images", handle.id)) is None


def test_a_step_may_do_without_the_value_of_the_one_before(client: Client) -> None:
    assert client.enqueue_chain(step(t.double, 3).after(t.tell, "done")).get(20) == "done"


def test_a_failed_step_ends_the_chain_and_its_error_names_the_step(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    handle = client.enqueue_chain(step(t.double, 2).then(t.odd_one_out, 2).then("collect", str(path)))
    with pytest.raises(JobFailedError) as failed:
        handle.get(20)
    assert failed.value.outcome.task == "odd_one_out"
    assert failed.value.outcome.error is not None
    assert failed.value.outcome.error.message == "step 2 of 3 (odd_one_out): 4 is one of them"
    assert not path.exists()


def test_a_step_that_fails_in_another_queue_is_told_where_the_chain_began(client: Client) -> None:
    work = step(t.double, 2).then(t.odd_one_out, 2).with_options(queue="images").then(t.double)
    with pytest.raises(JobFailedError, match="step 2 of 3"):
        client.enqueue_chain(work).get(20)


def test_a_value_that_is_too_large_for_the_next_step_ends_the_chain(client: Client) -> None:
    with pytest.raises(JobFailedError, match="max_message_bytes is 200000") as failed:
        client.enqueue_chain(step(t.large, 199_950).then(t.whole)).get(20)
    assert failed.value.outcome.error is not None
    assert failed.value.outcome.error.type == "MessageTooLarge"


def test_whole_numbers_text_and_nothing_go_through_a_chain_as_they_are(client: Client) -> None:
    value = [2**80, -0.1, 'Zoë 🦊 " \\ \u2028', None, {"a": [True, {}], "b": None}]
    assert client.enqueue_chain(step("whole", value).then("whole").then("whole")).get(20) == value


def test_a_step_can_wait_before_it_begins(client: Client) -> None:
    started = time.time()
    assert client.enqueue_chain(step(t.double, 1).then(t.add, 1).with_options(delay_s=1.0)).get(20) == 3
    assert time.time() - started >= 1.0


def test_a_chain_is_cancelled_by_its_handle_whichever_step_it_is_at(
    client: Client, running: Server, tmp_path: Path
) -> None:
    handle = client.enqueue_chain(step(t.double, 1).after(t.wait_for, str(tmp_path / "never")).then(t.double))
    with running.client() as connection:
        eventually(lambda: connection.exists(keys.seen("default", f"{handle.id}.1")))
    handle.cancel()
    with pytest.raises(JobCancelledError, match="step 2 of 3"):
        handle.get(20)


def test_a_member_that_is_cancelled_before_it_starts_is_counted(client: Client, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", [tmp_path / "first", tmp_path / "second"]
    for path in started:  # both workers wait, before there is anything else that one of them could start
        client.enqueue(t.touch_and_wait, str(path), str(gate))
    for path in started:
        eventually(path.exists)
    members = [step(t.double, 2), step(t.double, 3)]
    later = [step(t.double, 1).with_options(delay_s=3600), step(t.double, 1)]
    handle = client.enqueue_group(group(*members, *later, then=step(t.collect)))
    for member in handle.members[2:]:
        member.cancel()
    gate.touch()
    assert handle.callback is not None
    assert handle.callback.get(20)["failed"] == 2


def test_a_chain_of_one_step_is_a_job(client: Client) -> None:
    assert client.enqueue_chain(step(t.double, 4)).get(20) == 8


# ── from an event loop ──


async def test_an_asynchronous_client_has_the_same(running: Server) -> None:
    async with AsyncClient(running.url) as client:
        chained = await client.enqueue_chain(step(t.double, 3).then(t.add, 4))
        assert await chained.get(20) == 10
        members = (step(t.double, number) for number in range(700))
        handle = await client.enqueue_group(group(*members, then=step(t.collect)))
        assert handle.callback is not None
        assert (await handle.callback.get(20))["succeeded"] == 700
        assert await handle.results(5) == [2 * number for number in range(700)]
        assert (await handle.summary(5)).all_succeeded
        assert (await handle.progress()).done == 700
        assert (await client.group(handle.id).summary(5)).total == 700


async def test_an_asynchronous_client_gives_members_as_they_end_and_cancels(running: Server, tmp_path: Path) -> None:
    async with AsyncClient(running.url) as client:
        handle = await client.enqueue_group(
            group(step(t.wait_for, str(tmp_path / "never")), step(t.double, 2), deadline_s=60)
        )
        ended = aiter(handle)
        assert await (await anext(ended)).get(0) == 4
        await handle.cancel()
        with pytest.raises(JobCancelledError):
            await (await anext(ended)).get(0)
        assert await asyncio.wait_for(handle.wait(10), 15)


def test_a_group_can_be_made_with_plain_commands(running: Server) -> None:
    with running.client() as connection:
        record = keys.group("default", "by-hand")
        fields = {"created": 1893456000000, "added": 2, "sealed": 1, "ttl": 60_000}
        connection.hset(record, mapping=fields | {"before": '{"task":"collect","id":"c","result_ttl":60,"args":['})
        connection.hset(record, "after", "]}")
        connection.zadd(keys.groups("default"), {"by-hand": 4_000_000_000_000})
        for index in range(2):
            message = {"task": "double", "args": [index], "group": {"id": "by-hand", "index": index}}
            connection.xadd(keys.stream("default"), {"m": json.dumps(message)})
        raw: Any = eventually(lambda: connection.get(keys.result("default", "c")))
        summary = json.loads(raw)["value"]
        assert (summary["id"], summary["total"], summary["succeeded"]) == ("by-hand", 2, 2)
        told: Any = connection.get(keys.result("default", "by-hand"))
        assert json.loads(told)["value"] == summary
        assert connection.zcard(keys.groups("default")) == 0
