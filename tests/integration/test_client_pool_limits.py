"""RedisPool: progress, back-pressure, and the methods that the standard library's Pool has."""

from __future__ import annotations

import inspect
import itertools
import multiprocessing.pool
import threading
from typing import TYPE_CHECKING

import pytest

from support.fake_daemon import FakeDaemon
from support.waiting import eventually
from workd.broker import keys
from workd.client.redis_pool import RedisPool
from workd.errors import JobFailedError, PoolClosedError
from workd_tasks import task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server


@task(name="it.limits_square")
def square(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * x


@pytest.fixture
def daemon(server: Server) -> Iterator[FakeDaemon]:
    with FakeDaemon(server.client(), {"it.limits_square": square}) as daemon:
        yield daemon


@pytest.fixture
def pool(server: Server, daemon: FakeDaemon) -> Iterator[RedisPool]:
    with RedisPool(server.url, max_pending=10) as pool:
        yield pool


def queued(server: Server) -> int:
    with server.client() as look:
        return int(look.xlen(keys.stream("default")))


# ── progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_map_tells_how_far_it_is_and_ends_with_all(server: Server, daemon: FakeDaemon) -> None:
    told: list[tuple[int, int | None]] = []
    with RedisPool(server.url) as pool:
        pool.map(square, range(700), progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (700, 700)
        assert [done for done, _ in told] == sorted({done for done, _ in told})
        assert {total for _, total in told} == {700}
        told.clear()
        pool.starmap(square, iter([(1,), (2,)]), progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (2, 2)


def test_a_job_that_fails_is_an_end_too(server: Server, daemon: FakeDaemon) -> None:
    told: list[tuple[int, int | None]] = []
    with RedisPool(server.url) as pool:
        with pytest.raises(JobFailedError):
            pool.map(square, [1, -1, 2], progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (3, 3)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_iteration_tells_how_far_it_is(method: str, server: Server, daemon: FakeDaemon) -> None:
    told: list[tuple[int, int | None]] = []
    with RedisPool(server.url) as pool:
        iterate = getattr(pool, method)
        values = iterate(square, iter(range(50)), chunksize=7, progress=lambda done, total: told.append((done, total)))
        assert sorted(values) == [x * x for x in range(50)]
        eventually(lambda: told[-1] == (50, 50))


def test_a_progress_callback_that_raises_costs_no_result(
    server: Server, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))
    with RedisPool(server.url) as pool:
        assert pool.map(square, [1, 2], progress=lambda *_: 1 / 0) == [1, 4]
    assert set(reported) == {ZeroDivisionError}


# ── back-pressure ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_more_jobs_are_queued_than_may_be_pending(pool: RedisPool, daemon: FakeDaemon, server: Server) -> None:
    daemon.hold()
    got: list[list[int]] = []
    caller = threading.Thread(target=lambda: got.append(pool.map(square, range(95))))
    caller.start()
    eventually(lambda: queued(server) == 10)
    with pytest.raises(multiprocessing.TimeoutError):
        pool.imap(square, range(5)).next(timeout=0.1)  # its feeder waits, too
    assert queued(server) == 10
    daemon.release()
    caller.join(20)
    assert got == [[x * x for x in range(95)]]


def test_an_iteration_without_end_is_fed_as_places_get_free(pool: RedisPool, daemon: FakeDaemon) -> None:
    taken = itertools.count()
    values = pool.imap(square, taken, chunksize=50)
    assert list(itertools.islice(values, 200)) == [x * x for x in range(200)]


def test_single_calls_wait_for_a_place_and_failed_jobs_give_theirs_back(pool: RedisPool) -> None:
    results = [pool.apply_async(square, (-x,)) for x in range(1, 40)]
    for result in results:
        with pytest.raises(JobFailedError):
            result.get(timeout=20)
    assert pool.apply(square, (3,)) == 9


def test_whoever_waits_for_a_place_is_told_that_the_pool_was_terminated(
    pool: RedisPool, daemon: FakeDaemon, server: Server
) -> None:
    daemon.hold()
    raised: list[BaseException] = []

    def call() -> None:
        try:
            pool.map_async(square, range(50))
        except PoolClosedError as error:
            raised.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    eventually(lambda: queued(server) == 10)
    pool.terminate()
    caller.join(10)
    assert len(raised) == 1


def test_a_call_that_could_not_be_sent_gives_its_places_back(daemon: FakeDaemon, server: Server) -> None:
    with RedisPool(server.url, max_pending=4) as pool:
        assert pool.map(square, [1]) == [1]
        daemon.hold()
        with server.client() as look:
            look.rename(keys.stream("default"), "aside")
            look.set(keys.stream("default"), "somebody else's")
            with pytest.raises(ConnectionError, match="WRONGTYPE"):
                pool.map(square, range(10))
            look.rename("aside", keys.stream("default"))
        daemon.release()
        assert pool.map(square, range(10)) == [x * x for x in range(10)]


# ── the standard library's Pool ─────────────────────────────────────────────────────────────────────────────────────

THEIRS = multiprocessing.pool.Pool


def public(of: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(of, inspect.isfunction) if not name.startswith("_")}


def test_every_method_of_the_standard_librarys_pool_is_there() -> None:
    ours = public(RedisPool)
    assert public(THEIRS) - {"Process"} <= ours
    assert {"__enter__", "__exit__"} <= set(dir(RedisPool))


@pytest.mark.parametrize("name", sorted(public(THEIRS) - {"Process"}))
def test_a_method_takes_what_the_standard_librarys_takes(name: str) -> None:
    theirs = inspect.signature(getattr(THEIRS, name)).parameters
    ours = inspect.signature(getattr(RedisPool, name)).parameters
    positional = [parameter for parameter in ours.values() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert [parameter.name for parameter in positional] == list(theirs)
    for parameter in positional:
        assert (parameter.default is parameter.empty) == (theirs[parameter.name].default is parameter.empty)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("AsyncResult", multiprocessing.pool.AsyncResult),
        ("MapResult", multiprocessing.pool.MapResult),
        ("Arrivals", multiprocessing.pool.IMapIterator),
    ],
)
def test_what_the_methods_return_has_the_standard_librarys_methods(ours: str, theirs: type) -> None:
    from workd.client import pool_results

    assert public(theirs) <= public(getattr(pool_results, ours))
