"""RedisPool where multiprocessing.Pool was, with as much of a fleet as a producer can see."""

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from support.fake_daemon import FakeDaemon
from support.servers import Server
from support.waiting import eventually
from workd.broker import keys
from workd.client.redis_pool import RedisPool
from workd.client.sync import Client
from workd.errors import InvalidJobError, InvalidResultError, JobFailedError, PoolClosedError
from workd_tasks import task


@task(name="it.pool_square")
def square(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * x


@task(name="it.pool_power")
def power(x: int, y: int = 2) -> int:
    return int(x**y)


def look_up(value: int) -> str:
    return {1: "one"}[value]


@task(name="it.pool_named")
def named(x: int) -> Annotated[Any, AfterValidator(look_up)]:
    return x


TASKS: dict[str, Callable[..., Any]] = {
    "it.pool_square": square,
    "it.pool_power": power,
    "it.pool_named": named,
}


@pytest.fixture
def daemon(server: Server) -> Iterator[FakeDaemon]:
    with FakeDaemon(server.client(), TASKS) as daemon:
        yield daemon


@pytest.fixture
def pool(server: Server, daemon: FakeDaemon) -> Iterator[RedisPool]:
    with RedisPool(server.url) as pool:
        yield pool


def test_map_and_starmap_give_values_in_order(pool: RedisPool) -> None:
    assert pool.map(square, [1, 2, 3, 4]) == [1, 4, 9, 16]
    assert pool.map(square, []) == []
    assert pool.map("it.pool_square", range(1_100), chunksize=7) == [x * x for x in range(1_100)]
    assert pool.starmap(power, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.starmap_async(power, [(2, 3)]).get(timeout=20) == [8]


def test_apply_takes_arguments_by_place_and_by_name(pool: RedisPool) -> None:
    assert pool.apply(power, (3,)) == 9
    assert pool.apply(power, (3,), {"y": 3}) == 27
    assert pool.apply_async(power, kwds={"x": 2}).get(timeout=20) == 4


def test_callbacks_get_the_value_or_the_error(pool: RedisPool) -> None:
    values: list[object] = []
    errors: list[BaseException] = []
    pool.apply_async(square, (3,), callback=values.append, error_callback=errors.append)
    pool.map_async(square, [1, 2], callback=values.append, error_callback=errors.append)
    pool.apply_async(square, (-1,), callback=values.append, error_callback=errors.append)
    pool.close()
    pool.join()
    assert sorted(map(str, values)) == ["9", "[1, 4]"]
    assert [type(error) for error in errors] == [JobFailedError]


def test_a_value_that_its_own_type_chokes_on_is_an_error_and_others_still_come(pool: RedisPool) -> None:
    with pytest.raises(InvalidResultError, match="KeyError: 13"):
        pool.apply_async(named, (13,)).get(timeout=20)
    with pytest.raises(InvalidResultError, match="KeyError: 13"):
        pool.map_async(named, [1, 13]).get(timeout=20)
    assert pool.apply_async(named, (1,)).get(timeout=20) == "one"


def test_a_callback_may_use_the_pool(pool: RedisPool) -> None:
    nested: list[int] = []
    pool.apply_async(square, (3,), callback=lambda value: nested.append(pool.apply(square, (value,))))
    eventually(lambda: nested == [81])


def test_a_failure_is_raised_with_what_the_task_said(pool: RedisPool) -> None:
    with pytest.raises(JobFailedError, match="ValueError: -1 is negative"):
        pool.map(square, [1, -1, 2])
    values = pool.imap(square, [1, -1, 2])
    assert next(values) == 1
    with pytest.raises(JobFailedError):
        next(values)
    assert list(values) == [4]


def test_a_result_that_is_not_there_yet_is_the_standard_librarys_timeout(pool: RedisPool, daemon: FakeDaemon) -> None:
    daemon.hold()
    result = pool.apply_async(square, (3,))
    result.wait(0.01)
    assert not result.ready()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    daemon.release()
    assert result.get(timeout=20) == 9
    assert result.successful()


def test_imap_yields_in_order_and_imap_unordered_yields_all(pool: RedisPool) -> None:
    assert list(pool.imap(square, range(50))) == [x * x for x in range(50)]
    assert sorted(pool.imap_unordered(square, range(50), chunksize=20)) == [x * x for x in range(50)]
    assert list(pool.imap(square, [])) == []
    with pytest.raises(ValueError, match="chunksize"):
        pool.imap(square, [1], chunksize=0)


def test_imap_takes_an_iterable_without_end_only_as_far_as_it_is_needed(
    pool: RedisPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workd.client.redis_pool._WINDOW", 10)
    taken = itertools.count()
    values = pool.imap(square, taken)
    assert list(itertools.islice(values, 30)) == [x * x for x in range(30)]
    assert next(taken) <= 45


def test_what_the_iterable_raises_comes_out_of_the_iterator(pool: RedisPool) -> None:
    def broken() -> Iterator[int]:
        yield 2
        raise KeyError("mine")

    values = pool.imap(square, broken())
    assert next(values) == 4
    with pytest.raises(KeyError, match="mine"):
        next(values)


def test_imap_next_may_be_given_a_timeout(pool: RedisPool, daemon: FakeDaemon) -> None:
    daemon.hold()
    values = pool.imap(square, [3])
    with pytest.raises(multiprocessing.TimeoutError):
        values.next(timeout=0.01)
    daemon.release()
    assert values.next(timeout=5) == 9


def test_a_closed_pool_takes_no_more_and_join_waits_for_the_rest(pool: RedisPool, daemon: FakeDaemon) -> None:
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    daemon.hold()
    result = pool.map_async(square, [1, 2])
    pool.close()
    for refused in (lambda: pool.map(square, [1]), lambda: pool.imap(square, [1])):
        with pytest.raises(PoolClosedError):
            refused()
    threading.Timer(0.05, daemon.release).start()
    pool.join()
    assert result.ready()
    assert result.get(timeout=0) == [1, 4]
    pool.join()


@pytest.mark.parametrize("count", [50, 1_200])  # less, and more, than is read ahead
def test_join_waits_for_an_iteration_whose_values_nobody_has_taken(
    pool: RedisPool, daemon: FakeDaemon, count: int
) -> None:
    values = pool.imap_unordered(square, (number for number in range(count)))
    pool.close()
    pool.join()
    assert len(daemon.seen) == count
    assert sum(values) == sum(number * number for number in range(count))


def test_what_ends_the_thread_that_reads_the_items_is_raised_as_well(pool: RedisPool) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    values = pool.imap(square, items())
    assert next(values) == 1
    with pytest.raises(SystemExit):
        next(values)
    pool.close()
    pool.join()


def test_a_terminated_pool_leaves_nobody_waiting(pool: RedisPool, daemon: FakeDaemon) -> None:
    daemon.hold()
    result = pool.map_async(square, [1, 2])
    values = pool.imap(square, itertools.count())
    eventually(lambda: values._shelf._places > 0)
    began = time.monotonic()
    pool.terminate()
    pool.join()
    pool.terminate()
    with pytest.raises(PoolClosedError, match="terminated"):
        result.get(timeout=1)
    with pytest.raises(PoolClosedError):
        list(values)
    assert time.monotonic() - began < 20
    eventually(lambda: not any(thread.name == "workd-imap" for thread in threading.enumerate()))


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("workd-")]


def test_a_pool_and_an_imap_that_nobody_has_any_more_leave_no_thread(server: Server, daemon: FakeDaemon) -> None:
    values = RedisPool(server.url).imap(square, itertools.count())  # the iterator keeps its pool
    assert [next(values) for _ in range(2_000)] == [x * x for x in range(2_000)]
    assert sorted(client_threads()) == ["workd-imap", "workd-replies"]
    del values
    eventually(lambda: not client_threads())


def test_an_imap_that_nobody_takes_from_is_fed_to_its_end_by_join(pool: RedisPool, daemon: FakeDaemon) -> None:
    pool.imap_unordered(square, range(1_500))
    pool.close()
    pool.join()
    assert len(daemon.seen) == 1_500


def test_a_client_remembers_no_pool_that_is_gone(server: Server) -> None:
    with Client(server.url) as client:
        pools = [RedisPool(client) for _ in range(3)]
        assert len(client.core._to_tell) == 3
        del pools
        assert len(client.core._to_tell) == 0


def test_a_forked_child_has_places_callbacks_and_an_end_of_its_own(server: Server, daemon: FakeDaemon) -> None:
    with RedisPool(server.url, max_pending=2) as pool:
        called: list[int] = []
        pool.apply_async(square, (3,), callback=called.append)
        assert eventually(lambda: called == [9])
        daemon.hold()
        results = [pool.apply_async(square, (number,)) for number in range(2)]  # all places are taken
        if (pid := os.fork()) == 0:
            signal.alarm(20)
            code = 1
            try:
                called.clear()
                result = pool.apply_async(square, (5,), callback=called.append)
                pool.close()
                pool.join()
                code = 0 if result.get(timeout=0) == 25 and called == [25] else 2
            finally:
                os._exit(code)
        assert eventually(lambda: server_length(server) == 3)
        daemon.release()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [result.get(timeout=20) for result in results] == [0, 1]


def server_length(server: Server) -> int:
    with server.client() as client:
        return int(client.xlen(keys.stream("default")))


def test_a_pool_may_use_a_client_with_options_of_its_own(server: Server, daemon: FakeDaemon) -> None:
    with Client(server.url) as client:
        with RedisPool(client.with_options(timeout=30, meta={"who": "pool"})) as pool:
            assert pool.map(square, [1, 2]) == [1, 4]
        assert daemon.seen[0].timeout == 30
        assert client.enqueue(square, 5).get(timeout=20) == 25  # the pool has left it open


def test_a_pool_whose_client_is_closed_leaves_nobody_waiting(server: Server, daemon: FakeDaemon) -> None:
    with Client(server.url) as client:
        pool = RedisPool(client)
        daemon.hold()
        result = pool.map_async(square, [1, 2])
    with pytest.raises(PoolClosedError):
        result.get(timeout=20)
    with pytest.raises(PoolClosedError):
        pool.apply(square, (3,))


def test_a_pool_needs_tasks_and_results(server: Server) -> None:
    with Client(server.url) as client, RedisPool(client.with_options(result_ttl=0)) as pool:
        with pytest.raises(InvalidJobError, match="keeps no result"):
            pool.map(square, [1])
        with pytest.raises(InvalidJobError, match="is not a task"):
            pool.map(lambda x: x, [1])
    with RedisPool(client.with_options(id="x")) as pool, pytest.raises(InvalidJobError, match="names one job"):
        pool.apply(square, (1,))


def test_nothing_is_missed_by_the_first_map_of_a_pool(server: Server, daemon: FakeDaemon) -> None:
    for _ in range(5):  # settled before, while and after the reply stream is made
        with RedisPool(server.url) as pool:
            assert pool.map(square, range(100)) == [x * x for x in range(100)]
