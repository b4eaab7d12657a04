"""Several consumers as one: whose turn it is to read, and what is told of them."""

import asyncio
from typing import Any, cast

import pytest

from workd import lives as module
from workd.broker.servers import Servers
from workd.consumer import BLOCK_MS, Consumer, Source
from workd.errors import BrokerError, BrokerUnavailableError
from workd.lives import Life, Lives, Turns, are_apart, consumer_of
from workd.pulse import Pulse, Pulses
from workd.schedule import DeadLimits


def source(url: str, *queues: str) -> Source:
    return Source(url, "me", queues, queues[:1], 15.0, DeadLimits(1, 1.0))


CLUSTER = source("redis+cluster://a:1,b:2", "first", "second", "third")


class Room:
    """As much of a dispatcher as a life reads with."""

    def __init__(self, count: int = 5) -> None:
        self.count = count

    def room(self) -> int:
        return self.count


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was read, as count and wait, in place of Redis; nothing ever comes."""
    done: list[tuple[int, int]] = []

    async def read(self: Consumer, session: object, count: int, block_ms: int) -> bool:
        done.append((count, block_ms))
        return False

    monkeypatch.setattr(Consumer, "_read", read)
    return done


@pytest.mark.parametrize(
    ("url", "queues", "apart"),
    [
        ("redis://a", ("first", "second"), False),
        ("redis+sentinel://a/mymaster", ("first", "second"), False),
        ("redis+cluster://a", ("first",), False),
        ("redis+cluster://a", ("first", "second"), True),
    ],
)
async def test_only_several_queues_of_a_cluster_live_apart(url: str, queues: tuple[str, ...], *, apart: bool) -> None:
    assert are_apart(source(url, *queues)) is apart
    assert isinstance(consumer_of(source(url, *queues), cast("Any", None)), Lives if apart else Consumer)


async def test_of_those_who_wait_the_queue_named_first_has_the_next_turn() -> None:
    turns, order = Turns(("first", "second", "third")), []

    async def read(queue: str) -> None:
        async with turns.of(queue):
            order.append(queue)

    async with turns.of("second"):
        waiting = [asyncio.create_task(read(queue)) for queue in ("third", "second", "first")]
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(*waiting)
    assert order == ["first", "second", "third"]


async def test_nobody_waits_long_for_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    turns = Turns(("first", "second"))
    async with turns.of("first"):
        async with turns.of("second"):
            pass  # without its turn
        assert turns._taken
    assert not turns._taken


async def test_a_turn_that_comes_to_one_who_was_cancelled_is_given_on() -> None:
    turns = Turns(("first", "second"))

    async def read(queue: str) -> None:
        async with turns.of(queue):
            pass

    async with turns.of("second"):
        cancelled = asyncio.create_task(read("first"))
        waiting = asyncio.create_task(read("second"))
        await asyncio.sleep(0)
    cancelled.cancel()  # it has its turn, and does not know it yet
    await asyncio.wait({cancelled})
    await asyncio.wait_for(waiting, 20)
    assert not turns._taken


async def test_a_life_looks_in_turn_and_then_waits_for_one_entry_and_looks_again_only_after_one_came(
    reads: list[tuple[int, int]],
) -> None:
    life = Life(source(CLUSTER.redis_url, "first"), cast("Any", Room()), Servers(CLUSTER.redis_url), Turns(("first",)))
    for _ in range(2):
        await life._read(cast("Any", None), 5, BLOCK_MS)
    assert reads == [(5, 0), (1, BLOCK_MS), (1, BLOCK_MS)]


async def test_a_life_that_finds_no_room_when_its_turn_comes_reads_nothing(reads: list[tuple[int, int]]) -> None:
    life = Life(source(CLUSTER.redis_url, "first"), cast("Any", Room(0)), Servers(CLUSTER.redis_url), Turns(("first",)))
    assert not await life._read(cast("Any", None), 5, BLOCK_MS)
    assert reads == []


async def test_a_life_that_is_to_be_quiet_does_not_begin_to_wait(reads: list[tuple[int, int]]) -> None:
    life = Life(source(CLUSTER.redis_url, "first"), cast("Any", Room()), Servers(CLUSTER.redis_url), Turns(("first",)))
    life._quiet.set()
    await life._read(cast("Any", None), 5, BLOCK_MS)
    assert reads == [(5, 0)]


async def test_what_ends_one_life_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def run(self: Consumer) -> None:
        if self._source.queues == ("second",):
            raise BrokerError("redis_url: refused")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(self._source.queues[0])

    monkeypatch.setattr(Consumer, "run", run)
    with pytest.raises(BrokerError, match="refused"):
        await Lives(CLUSTER, cast("Any", None)).run()
    assert sorted(ended) == ["first", "third"]


async def test_every_lease_is_given_up_even_if_one_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    departed: list[str] = []

    async def depart(self: Consumer) -> None:
        if self._source.queues == ("first",):
            raise BrokerUnavailableError("gone")
        departed.append(self._source.queues[0])

    monkeypatch.setattr(Consumer, "depart", depart)
    with pytest.raises(BrokerUnavailableError, match="gone"):
        await Lives(CLUSTER, cast("Any", None)).depart()
    assert departed == ["second", "third"]


async def test_each_life_has_its_own_inbox_and_no_other() -> None:
    lives = Lives(CLUSTER, cast("Any", None))
    assert [life._source.inbox_queues for life in lives._lives.values()] == [("first",), (), ()]


async def test_all_is_well_where_all_are_well() -> None:
    one, other = Pulse(connected=True, consuming=True, trouble="", sessions=2), Pulse()
    both = Pulses({"one": one, "other": other})
    assert (both.connected, both.consuming, both.sessions) == (False, False, 2)
    assert both.trouble == "queue other: not connected yet"
    other.expect("the fetch", -1.0)
    [(what, late_s)] = both.overdue(0.5)
    assert what == "the fetch of queue other"
    assert late_s >= 1.0
    other.connected, other.consuming, other.trouble = True, True, ""
    assert both.connected
    assert both.consuming
    assert not both.trouble
