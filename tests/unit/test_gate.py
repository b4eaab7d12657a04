"""The gate between arrivals and the pool, with a session and a pool that do as they are told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from support.flying import QUEUE, entry, flight
from support.waiting import eventually_async
from workd import lines
from workd.broker.ops import Finish, Readd
from workd.broker.permits import Limit, PermitAsk, PermitReply, Permitted
from workd.broker.queues import Paused
from workd.errors import BrokerUnavailableError, FencedError
from workd.flights import Book, Flight
from workd.gate import Gate
from workd.lines import Line, limit_of
from workd.verdicts import Clerk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.entries import Entry
    from workd.broker.ops import Settlement
    from workd.broker.session import Session

CATALOGUE: dict[str, dict[str, Any]] = {"square": {"concurrency_limit": 2}, "free": {}, "slow": {"rate_limit": "1/h"}}
RUN, WAITS, NOT_OURS = Permitted.RUN, Permitted.WAITS, Permitted.NOT_OURS


class FakeSession:
    """Notes what is asked; each answer is a reply, an error, or what makes a reply."""

    def __init__(self, *answers: PermitReply | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[PermitAsk] = []

    async def permit(self, queue: str, ask: PermitAsk) -> PermitReply:
        self.asked.append(ask)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else PermitReply(answers=(RUN,) * len(ask.asking))
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    """A gate with everything around it, and what came of it."""

    def __init__(self) -> None:
        self.books = {QUEUE: Book(QUEUE)}
        self.taking = {QUEUE: asyncio.Lock()}
        self.room_changed = asyncio.Event()
        self.free = 3
        self.recalled: list[set[int]] = []
        self.pool: Any = SimpleNamespace(
            is_quiet=False, capacity=lambda: SimpleNamespace(free=self.free), recall=self.recall
        )
        self.submitted: list[Flight] = []
        self.settled: list[tuple[Flight, Settlement]] = []
        self.gate = Gate(self.books, Clerk("me"), cast("Any", self), cast("Any", self))
        self.gate.attach(cast("Any", self.pool), CATALOGUE)
        self.quiet = asyncio.Event()

    # What the gate calls.

    def recall(self, pool_keys: set[int]) -> list[object]:
        self.recalled.append(pool_keys)
        return []

    def submit(self, flights: list[Flight]) -> None:
        self.submitted += flights

    def settle(self, flight: Flight, settlement: Settlement) -> None:
        flight.settlement = settlement
        self.settled.append((flight, settlement))

    def conclude(self, flight: Flight, decision: object, times: object) -> None:
        self.settle(flight, Clerk("me").write(flight, cast("Any", decision), cast("Any", times)))

    def on_returned(self, jobs: list[object]) -> None:
        assert not jobs

    async def take(self, session: FakeSession, entries: Sequence[Entry]) -> None:
        self.arrive(*(flight(one.entry_id) for one in entries))

    # What the tests do.

    def arrive(self, *flights: Flight) -> None:
        for one in flights:
            self.books[QUEUE].open(one)
        self.submitted += self.gate.pass_on(flights)

    def run(self, session: FakeSession) -> asyncio.Future[None]:
        return asyncio.ensure_future(self.gate.run(cast("Session", session), [QUEUE], self.quiet))

    async def until_asked(self, session: FakeSession, count: int = 1) -> None:
        await eventually_async(lambda: len(session.asked) >= count and not self.taking[QUEUE].locked())

    async def until_it_waits(self) -> None:
        """Wait until the gate waits for the lock that the test has."""
        await eventually_async(lambda: "waiters:1" in repr(self.taking[QUEUE]))


@pytest.fixture
async def world() -> World:
    return World()


async def finished(running: asyncio.Future[None], world: World) -> None:
    world.quiet.set()
    await running


async def test_a_daemon_that_is_quiet_starts_nothing_and_hands_back_what_waits(world: World) -> None:
    free, limited = flight("free"), flight("square")
    for one in (free, limited):
        world.books[QUEUE].open(one)
    assert world.gate.pass_on([limited]) == []
    world.gate.shut()
    world.gate.shut()
    assert len(world.recalled) == 1, "what the pool has not started"
    assert world.gate.pass_on([free]) == []
    assert [type(settlement) for _, settlement in world.settled] == [Readd, Readd]
    assert world.gate.open_queues([QUEUE]) == []
    assert not world.gate.is_open
    world.gate.unshut()
    assert world.gate.open_queues([QUEUE]) == [QUEUE]
    assert world.room_changed.is_set()


async def test_a_limit_that_comes_or_goes_with_new_code_holds_for_what_waits(world: World) -> None:
    held = flight("square")
    assert world.gate.pass_on([held]) == []
    world.gate.attach(cast("Any", world.pool), {"square": {"concurrency_limit": 7}, "free": {"rate_limit": "1/h"}})
    (line,) = world.gate._lines.values()
    assert line.limit.most_running == 7
    assert world.gate.pass_on([flight("free")]) == []
    world.gate.attach(cast("Any", world.pool), {"square": {}})
    assert all(line.limit == lines.NO_LIMIT for line in world.gate._lines.values())


async def test_jobs_without_limits_pass_at_once_and_are_asked_for_never(world: World) -> None:
    world.arrive(flight("1-0", task="free"))
    assert [one.task for one in world.submitted] == ["free"]
    nothing_limited = World()
    nothing_limited.gate.attach(nothing_limited.pool, {"free": {}})
    assert nothing_limited.gate.is_open
    assert not world.gate.is_open


async def test_a_job_with_a_limit_is_held_until_it_may_run_or_leaves_our_books(world: World) -> None:
    session = FakeSession(PermitReply(answers=(RUN, WAITS, NOT_OURS), others_wait=True))
    world.arrive(flight("1-0"), flight("2-0"), flight("3-0"))
    assert world.submitted == []
    running = world.run(session)
    await world.until_asked(session)
    assert session.asked[0] == PermitAsk("square", Limit(2), asking=("1-0", "2-0", "3-0"))
    assert [one.entry.entry_id for one in world.submitted] == ["1-0"]
    assert list(world.books[QUEUE].flights) == ["1-0"]
    assert world.gate.is_awaited(world.submitted[0])
    await finished(running, world)


async def test_the_end_of_a_job_gives_its_permit_back_and_takes_who_waits_if_there_is_room(world: World) -> None:
    waiting = entry("2-0")
    session = FakeSession(PermitReply(answers=(RUN,)), PermitReply(taken=(waiting,)))
    world.arrive(flight("1-0"))
    running = world.run(session)
    await world.until_asked(session)
    world.books[QUEUE].close("1-0")
    world.gate.note_ended()
    await world.until_asked(session, 2)
    assert (session.asked[1].ended, session.asked[1].room) == (("1-0",), 3)
    assert [one.entry.entry_id for one in world.submitted] == ["1-0", "2-0"]
    assert set(world.gate.permits) == {(QUEUE, "2-0")}
    await finished(running, world)


async def test_a_permit_that_nobody_waits_for_is_given_back_with_the_next_question(world: World) -> None:
    session = FakeSession(PermitReply(answers=(RUN,), others_wait=True, more=2), PermitReply(others_wait=True))
    world.arrive(flight("1-0"))
    world.free = 0
    running = world.run(session)
    await world.until_asked(session)
    world.books[QUEUE].close("1-0")
    world.gate.note_ended()
    for _ in range(20):  # more turns than a question takes, in less time than it is put off
        await asyncio.sleep(0)
    assert len(session.asked) == 1
    await world.until_asked(session, 2)  # by itself, a moment later: others may need it by then
    assert session.asked[1].ended == ("1-0",)
    await finished(running, world)


async def test_what_a_daemon_that_leaves_has_to_tell_is_which_permits_are_free(world: World) -> None:
    session = FakeSession()
    running = world.run(session)
    world.arrive(flight("1-0"), flight("2-0"))
    await world.until_asked(session)
    await finished(running, world)
    world.books[QUEUE].close("1-0")
    asks = world.gate.last_asks(QUEUE)
    assert [(ask.task, ask.ended, ask.asking, ask.room) for ask in asks] == [("square", ("1-0",), (), 0)]
    assert world.gate.last_asks(QUEUE) == []
    assert world.gate.last_asks("another") == []


def test_a_permit_that_others_wait_for_is_given_back_at_once() -> None:
    line = Line(QUEUE, "square", Limit(2), more=True)
    line.end("1-0", now=5.0)
    assert not line.is_due(5.0, room=0)
    assert line.is_due(5.0 + lines.TOGETHER_S, room=0)
    line.note(PermitReply(others_wait=True), now=5.01, room=0)
    assert line.is_due(5.01, room=0)
    assert (line.take_ended(), line.is_due(9.0, room=0)) == (("1-0",), False)
    line.end("2-0", now=9.0)
    assert line.is_due(9.0, room=0)


async def test_what_broke_off_is_asked_again_by_the_next_session(world: World) -> None:
    world.arrive(flight("1-0"))
    for error in (BrokerUnavailableError("gone"), PermitReply(fenced=True)):
        session = FakeSession(error)
        with pytest.raises((BrokerUnavailableError, FencedError)):
            await world.run(session)
    session = FakeSession()
    running = world.run(session)
    await world.until_asked(session)
    assert session.asked[0].asking == ("1-0",)
    assert len(world.submitted) == 1
    await finished(running, world)


async def test_a_job_that_is_cancelled_while_it_is_held_ends_and_one_that_is_dropped_is_forgotten(world: World) -> None:
    cancelled, dropped = flight("1-0"), flight("2-0")
    world.arrive(cancelled, dropped)
    cancelled.cancelled = dropped.dropped = True
    running = world.run(FakeSession())
    await eventually_async(lambda: world.settled)
    [(ended, settlement)] = world.settled
    assert ended is cancelled
    assert isinstance(settlement, Finish)
    await finished(running, world)
    assert world.submitted == []


async def test_a_job_that_was_cancelled_while_it_waited_ends_when_its_turn_comes(world: World) -> None:
    session = FakeSession(PermitReply(taken=(entry("1-0"),), cancelled=frozenset({"1-0"})))
    running = world.run(session)
    world.gate.note_waiting(QUEUE, ["square"])
    await world.until_asked(session)
    assert session.asked[0].verify
    assert isinstance(world.settled[0][1], Finish)
    assert world.submitted == []
    await finished(running, world)


async def test_what_waits_for_a_task_that_nobody_here_knows_is_left_to_others(world: World) -> None:
    session = FakeSession()
    running = world.run(session)
    world.gate.note_waiting(QUEUE, ["unknown", "free"])
    await world.until_asked(session)
    assert [(ask.task, ask.limit) for ask in session.asked] == [("free", Limit())]
    await finished(running, world)


async def test_those_that_wait_go_before_new_ones_once_there_is_room(world: World) -> None:
    world.free = 0
    session = FakeSession(PermitReply(others_wait=True, more=5))
    running = world.run(session)
    world.gate.note_waiting(QUEUE, ["square"])
    await world.until_asked(session)
    assert session.asked[0].room == 0
    world.free = 2
    assert world.gate.leave(2) == 0
    await world.until_asked(session, 2)
    assert session.asked[1].room == 2
    assert world.gate.leave(2) == 2
    await finished(running, world)


async def test_what_is_asked_for_counts_as_taken_from_the_room(world: World) -> None:
    world.arrive(flight("1-0"), flight("2-0"))
    assert world.gate.leave(5) == 3
    assert world.gate.leave(1) == 0


async def test_a_stopping_daemon_sends_back_what_it_holds(world: World) -> None:
    world.arrive(flight("1-0"))
    world.gate.give_back([QUEUE])
    assert isinstance(world.settled[0][1], Readd)
    assert world.settled[0][1].due_ms is None
    world.pool.is_quiet = True
    world.arrive(flight("2-0"))
    assert [one.entry.entry_id for one in world.submitted] == ["2-0"]  # the pool gives it back


async def test_a_key_of_a_stranger_puts_the_jobs_off(world: World) -> None:
    session = FakeSession(PermitReply(wrong_key="k"))
    world.arrive(flight("1-0"))
    running = world.run(session)
    await world.until_asked(session)
    settlement = world.settled[0][1]
    assert isinstance(settlement, Readd)
    assert settlement.due_ms is not None
    await finished(running, world)


async def test_what_found_no_worker_waits_again_but_for_tasks_without_limits(world: World) -> None:
    limited, free = flight("1-0"), flight("2-0", task="free")
    world.arrive(limited, free)
    session = FakeSession()
    running = world.run(session)
    await world.until_asked(session)
    assert not world.gate.take_back(free)
    assert world.gate.take_back(limited)
    await world.until_asked(session, 2)
    assert session.asked[1].unstarted == ("1-0",)
    assert not world.books[QUEUE].knows("1-0")
    await finished(running, world)


async def test_what_comes_for_a_paused_queue_goes_back(world: World) -> None:
    held, in_the_pool = flight("1-0"), flight("0-1", task="free")
    world.arrive(held, in_the_pool)
    world.submitted.clear()
    in_the_pool.pool_key = 7
    assert world.gate.note_paused(QUEUE, Paused("why"))
    assert world.recalled == [{7}]
    assert not world.gate.note_paused(QUEUE, Paused("another reason"))
    world.arrive(flight("2-0", task="free"))
    assert [type(settlement) for _, settlement in world.settled] == [Readd, Readd]
    assert world.gate.open_queues([QUEUE, "other"]) == ["other"]
    assert world.gate.note_paused(QUEUE, None)
    assert world.gate.open_queues([QUEUE]) == [QUEUE]
    world.arrive(flight("3-0", task="free"))
    assert len(world.submitted) == 1


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, None),
        ({"concurrency_limit": 4}, Limit(4)),
        ({"rate_limit": "100/s"}, Limit(None, 10_000.0, 100)),
        ({"rate_limit": "30/m"}, Limit(None, 2e6, 1)),
        ({"rate_limit": "2.5/s", "rate_burst": 7, "concurrency_limit": 1}, Limit(1, 4e5, 7)),
    ],
)
def test_a_limit_is_read_from_the_options_of_a_task(options: dict[str, Any], limit: Limit | None) -> None:
    assert limit_of(options) == limit


def test_a_daemon_that_comes_too_late_for_tokens_looks_more_seldom() -> None:
    line = Line(QUEUE, "square", Limit(None, 1e4, 1))
    late = PermitReply(others_wait=True, next_in_s=0.01)
    line.note(late, 0.0, 1)
    waits_s, now = [line.next_at], 0.0
    for _ in range(6):
        now = line.next_at
        line.note(late, now, 1)
        waits_s.append(line.next_at - now)
    assert waits_s == pytest.approx([0.01 + lines.TOGETHER_S * (2**misses - 1) for misses in (0, 1, 2, 3, 4, 4, 4)])
    line.note(PermitReply(others_wait=True, next_in_s=0.01, taken=(entry("1-0"),)), now, 1)
    assert line.next_at - now == pytest.approx(0.01)


async def test_what_is_held_stays_held_when_the_session_breaks_before_it_could_be_asked_for(world: World) -> None:
    world.arrive(flight("1-0"))
    await world.taking[QUEUE].acquire()  # a takeover pass waits for its answer
    running = world.run(FakeSession())
    await world.until_it_waits()
    running.cancel()  # and the connection breaks
    with pytest.raises(asyncio.CancelledError):
        await running
    world.taking[QUEUE].release()
    session = FakeSession()
    running = world.run(session)
    await world.until_asked(session)
    assert session.asked[0].asking == ("1-0",)
    await finished(running, world)


async def test_a_pause_that_is_heard_of_before_the_call_lets_none_of_those_start_that_are_held(world: World) -> None:
    world.arrive(flight("1-0"))
    await world.taking[QUEUE].acquire()
    session = FakeSession(PermitReply(others_wait=True))
    running = world.run(session)
    await world.until_it_waits()
    world.gate.note_paused(QUEUE, Paused("why"))  # by the takeover pass that has the lock
    world.taking[QUEUE].release()
    await world.until_asked(session)
    assert world.submitted == []
    assert session.asked[0].room == 0
    assert isinstance(world.settled[0][1], Readd)
    await finished(running, world)


async def test_a_key_of_a_stranger_is_looked_at_now_and_then_and_holds_up_no_other_job(world: World) -> None:
    session = FakeSession(PermitReply(others_wait=True, more=5), PermitReply(wrong_key="k"))
    world.free = 0
    running = world.run(session)
    world.gate.note_waiting(QUEUE, ["square"])
    await world.until_asked(session)
    world.free = 2
    world.gate.note_room()
    await world.until_asked(session, 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(session.asked) == 2
    assert world.gate.leave(2) == 2
    await finished(running, world)


async def test_the_tokens_of_jobs_that_ended_before_they_started_are_given_back(world: World) -> None:
    expired, cancelled, runs = entry("1-0"), entry("2-0"), entry("3-0")
    session = FakeSession(
        PermitReply(taken=(expired, cancelled), cancelled=frozenset({"2-0"}), others_wait=True),
        PermitReply(taken=(runs,)),
    )

    async def take(_: object, entries: Sequence[Entry]) -> None:
        world.arrive(*(flight(one.entry_id, task="slow") for one in entries if one is not expired))

    world.take = take  # type: ignore[assignment]
    running = world.run(session)
    world.gate.note_waiting(QUEUE, ["slow"])
    await world.until_asked(session, 2)
    assert [ask.unused for ask in session.asked] == [0, 2]
    assert [one.entry.entry_id for one in world.submitted] == ["3-0"]
    await finished(running, world)
    assert len(session.asked) == 2
