"""A producer, a real server, and as much of a daemon as a producer can see."""

import gc
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from support.fake_daemon import Duplicate, Expired, FakeDaemon
from support.servers import Server
from support.waiting import eventually
from workd.broker import keys
from workd.client.sync import Client
from workd.errors import (
    InvalidJobError,
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    ResultGoneError,
    ResultTimeoutError,
)
from workd_tasks import task


@task(name="it.square")
def square(x: int) -> int:
    return x * x


@task(name="it.tomorrow", queue="images")
def tomorrow(day: datetime) -> tuple[datetime, int]:
    return day, 1


def fail() -> None:
    raise KeyError("no such thing")


def expire() -> None:
    raise Expired


def duplicate() -> None:
    raise Duplicate("held by another job")


TASKS: dict[str, Callable[..., Any]] = {
    "it.square": square,
    "it.tomorrow": lambda day: (day, 1),
    "fail": fail,
    "expire": expire,
    "duplicate": duplicate,
}


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def daemon(server: Server) -> Iterator[FakeDaemon]:
    with FakeDaemon(server.client(), TASKS, "default", "images") as daemon:
        yield daemon


def waiting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "workd-replies"]


def test_a_job_goes_out_and_its_value_comes_back(client: Client, daemon: FakeDaemon) -> None:
    handle = client.enqueue(square, 4)
    assert handle.get(timeout=20) == 16
    assert handle.get() == 16
    assert handle.outcome().attempts == 1
    assert handle.status() == "succeeded"


def test_a_name_will_do_and_gives_plain_json(client: Client, daemon: FakeDaemon) -> None:
    assert client.with_options(queue="images").enqueue("it.tomorrow", day="x").get(timeout=20) == ["x", 1]


def test_a_function_goes_to_its_own_queue_and_gives_its_own_types(client: Client, daemon: FakeDaemon) -> None:
    day = datetime(2026, 1, 2, tzinfo=UTC)
    handle = client.enqueue(tomorrow, day)
    assert handle.queue == "images"
    assert handle.get(timeout=20) == (day, 1)


def test_replies_of_several_queues_come_to_one_client(client: Client, daemon: FakeDaemon) -> None:
    assert client.enqueue(square, 2).get(timeout=20) == 4
    assert client.enqueue("it.square", 3).get(timeout=20) == 9
    assert client.with_options(queue="images").enqueue(square, 5).get(timeout=20) == 25
    assert client.enqueue(square, 6).get(timeout=20) == 36
    assert len(waiting_threads()) == 1


def test_a_failed_job_raises_with_its_outcome(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(JobFailedError, match="KeyError: 'no such thing'") as caught:
        client.enqueue("fail").get(timeout=20)
    assert caught.value.outcome.task == "fail"


def test_an_expired_and_a_cancelled_job_raise_what_they_are(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(JobExpiredError):
        client.enqueue("expire").get(timeout=20)
    with pytest.raises(JobCancelledError, match="held by another job"):
        client.with_options(unique="u").enqueue("duplicate").get(timeout=20)


def test_a_wait_that_is_too_short_leaves_the_job_and_may_be_tried_again(client: Client, daemon: FakeDaemon) -> None:
    daemon.hold()
    handle = client.enqueue(square, 4)
    with pytest.raises(ResultTimeoutError, match=r"no result within 0.05 s"):
        handle.get(timeout=0.05)
    assert handle.wait(timeout=0.05) is False
    assert handle.status() == "queued"
    daemon.release()
    assert handle.wait(timeout=5) is True
    assert handle.get(timeout=0) == 16


def test_the_status_tells_waiting_from_running_from_unknown(client: Client, server: Server) -> None:
    handle = client.enqueue(square, 4)
    assert handle.status() == "queued"
    with server.client() as other:
        other.xgroup_create(keys.stream("default"), keys.GROUP, id="0")
        assert handle.status() == "queued"
        other.xreadgroup(keys.GROUP, "me", {keys.stream("default"): ">"}, count=1)
    assert handle.status() == "running"
    assert client.result("nobody-knows").status() == "unknown"
    assert client.result("1-1").status() == "unknown"


def test_a_result_that_was_settled_before_anybody_waited_is_found(client: Client, daemon: FakeDaemon) -> None:
    handle = client.enqueue(square, 4)
    eventually(lambda: handle.status() == "succeeded")
    assert client.result(handle.id).get(timeout=20) == 16
    assert client.enqueue(square, 5).get(timeout=20) == 25


def test_another_client_finds_the_result_by_id(client: Client, daemon: FakeDaemon, server: Server) -> None:
    daemon.hold()
    handle = client.enqueue(square, 4)
    with Client(server.unix_url) as other:
        found: list[Any] = []
        waiter = threading.Thread(target=lambda: found.append(other.result(handle.id).get(timeout=20)))
        waiter.start()
        daemon.release()
        waiter.join()
    assert found == [16]


def test_no_result_is_kept_where_none_is_wanted(client: Client, daemon: FakeDaemon, server: Server) -> None:
    handle = client.with_options(result_ttl=0).enqueue(square, 4)
    with pytest.raises(ResultGoneError, match="result_ttl=0"):
        handle.get()
    eventually(lambda: daemon.seen)
    assert daemon.seen[0].reply_to is None
    with server.client() as other:
        assert other.exists(keys.result("default", handle.id)) == 0


def test_many_jobs_go_out_in_few_calls_and_all_come_back(client: Client, daemon: FakeDaemon) -> None:
    handles = client.enqueue_many(square, ((x,) for x in range(1_200)))
    assert [handle.get(timeout=20) for handle in handles] == [x * x for x in range(1_200)]


def test_many_jobs_survive_a_server_that_lost_the_script(client: Client, server: Server) -> None:
    assert len(client.enqueue_many(square, [(1,)])) == 1
    with server.client() as other:
        other.script_flush()
        assert len(client.enqueue_many(square, [(1,), (2,)])) == 2
        assert other.xlen(keys.stream("default")) == 3


def test_of_many_jobs_all_are_checked_before_their_call_is_sent(client: Client, server: Server) -> None:
    with pytest.raises(InvalidJobError) as caught:
        client.enqueue_many(square, [(1,), (1, 2)])
    assert caught.value.__notes__ == ["0 jobs had been queued before"]
    with pytest.raises(InvalidJobError, match="names one job"):
        client.with_options(id="x").enqueue_many(square, [(1,)])
    with server.client() as other:
        assert other.exists(keys.stream("default")) == 0


def test_the_reply_stream_is_trimmed_and_has_an_end(
    client: Client, daemon: FakeDaemon, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workd.client.reader.TRIM_EVERY", 10)
    for handle in client.enqueue_many(square, ((x,) for x in range(50))):
        handle.get(timeout=20)
    with server.client() as other:
        key = keys.reply("default", client.core.replies.name)
        eventually(lambda: int(other.xlen(key)) <= 11)
        assert 0 < other.pttl(key) <= 60_000


def test_a_second_message_with_the_same_id_gets_the_first_ones_result(
    client: Client, daemon: FakeDaemon, server: Server
) -> None:
    view = client.with_options(id="order-7")
    assert view.enqueue(square, 4).get(timeout=20) == 16
    again = view.enqueue("duplicate")
    assert again.id == "order-7"
    assert again.get(timeout=20) == 16
    with server.client() as other:
        other.delete(keys.result("default", "order-7"))
    running = view.enqueue("duplicate")
    assert running.wait(timeout=0.1) is False


def test_threads_share_one_client(client: Client, daemon: FakeDaemon) -> None:
    got: list[int] = []

    def produce(start: int) -> None:
        got.extend(client.enqueue(square, x).get(timeout=20) for x in range(start, start + 25))

    threads = [threading.Thread(target=produce, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(x * x for start in (0, 100, 200, 300) for x in range(start, start + 25))
    assert len(waiting_threads()) == 1


def test_a_forked_child_uses_connections_of_its_own(client: Client, daemon: FakeDaemon) -> None:
    before = client.enqueue(square, 3)
    assert before.get(timeout=20) == 9
    daemon.hold()
    shared = client.enqueue(square, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that a fork with threads is dangerous is the point
        child = os.fork()
    if child == 0:
        code = 1
        try:
            ok = client.enqueue(square, 4).get(timeout=20) == 16 and shared.get(timeout=20) == 25
            code = 0 if ok and before.get() == 9 else 2
        finally:
            os._exit(code)
    daemon.release()
    assert shared.get(timeout=20) == 25
    assert client.enqueue(square, 6).get(timeout=20) == 36
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_closing_ends_the_thread_and_is_safe_twice(server: Server, daemon: FakeDaemon) -> None:
    client = Client(server.url)
    client.close()
    client = Client(server.url)
    client.enqueue(square, 4).get(timeout=20)
    [thread] = waiting_threads()
    client.close()
    client.close()
    assert not thread.is_alive()


def test_a_client_that_nobody_holds_any_more_lets_its_thread_go(server: Server, daemon: FakeDaemon) -> None:
    client = Client(server.url)
    client.enqueue(square, 4).get(timeout=20)
    [thread] = waiting_threads()
    del client
    gc.collect()
    eventually(lambda: not thread.is_alive())
