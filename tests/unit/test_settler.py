import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from support.flying import QUEUE, entry, flight
from support.waiting import eventually_async
from workd import settler as module
from workd.broker.ops import Finish, Readd, Settlement, SettleReply
from workd.clock import Clock
from workd.errors import BrokerUnavailableError, FencedError
from workd.flights import Book, Flight
from workd.pulse import Pulse
from workd.schedule import Alarm
from workd.settler import FULL_BATCH_JOBS, MAX_BATCH_BYTES, MAX_BATCH_JOBS, Settler

if TYPE_CHECKING:
    from workd.broker.session import Session


class FakeSession:
    """Writes down each batch; answers, fails or waits as told."""

    def __init__(self, *answers: SettleReply | Exception) -> None:
        self.answers = list(answers)
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.running = 0

    async def settle(self, queue: str, items: Sequence[Settlement]) -> SettleReply:
        assert not self.running, "one call at a time"
        self.running += 1
        self.batches.append([item.entry_id for item in items])
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        answer = self.answers.pop(0) if self.answers else SettleReply()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Desk:
    """A settler with its book, and how often it told of room."""

    def __init__(self) -> None:
        self.book = Book(QUEUE)
        self.alarm = Alarm(Clock())
        self.rooms = 0
        self.settler = Settler({QUEUE: self.book}, {QUEUE: self.alarm}, self.note_room)

    def note_room(self, _flights: list[Flight]) -> None:
        self.rooms += 1

    def put(self, *numbers: int, size: int = 10, reply_to: str | None = None) -> list[Flight]:
        flights = []
        for number in numbers:
            job = flight(f"{number}-0")
            self.book.open(job)
            self.settler.put(job, Finish(f"{number}-0", f"{number}-0", bytes(size), 60.0, reply_to))
            flights.append(job)
        return flights

    @asynccontextmanager
    async def run(self, session: FakeSession) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.ensure_future(self.settler.run(cast("Session", session), Pulse(), QUEUE))
        yield task
        task.cancel()
        with suppress(asyncio.CancelledError, BrokerUnavailableError, FencedError):
            await task


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_what_ends_during_a_call_goes_with_the_next(desk: Desk) -> None:
    session = FakeSession()
    session.open.clear()
    async with desk.run(session):
        desk.put(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        desk.put(2, 3)
        desk.put(4)
        session.open.set()
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert session.batches == [["1-0"], ["2-0", "3-0", "4-0"]]


async def test_after_a_call_the_next_waits_a_little_for_more(desk: Desk) -> None:
    session = FakeSession()
    async with desk.run(session):
        desk.put(1)
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
        desk.put(2)
        for _ in range(10):
            await asyncio.sleep(0)
        desk.put(3)
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert session.batches == [["1-0"], ["2-0", "3-0"]]


@pytest.mark.parametrize(
    ("jobs", "size", "reply_to"),
    [(1, 10, "me"), (FULL_BATCH_JOBS, 10, None), (2, MAX_BATCH_BYTES // 2, None)],
    ids=["somebody waits for it", "many jobs", "many bytes"],
)
async def test_nothing_is_waited_for_where_nothing_is_gained(
    desk: Desk, jobs: int, size: int, reply_to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 60.0)
    async with desk.run(FakeSession()):
        desk.put(1000)
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
        desk.put(*range(jobs), size=size, reply_to=reply_to)
        await asyncio.wait_for(desk.settler.wait_empty(), 20)


async def test_what_somebody_waits_for_hurries_though_it_was_too_much_for_the_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 60.0)
    desk.put(*range(MAX_BATCH_JOBS))
    desk.put(10_000, reply_to="me")
    async with desk.run(FakeSession()):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)


async def test_what_is_confirmed_leaves_the_book_and_makes_room(desk: Desk) -> None:
    async with desk.run(FakeSession()):
        desk.put(1, 2)
        assert desk.settler.unsettled == 2
        assert desk.settler.unsettled_bytes == 20
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert not desk.book.flights
    assert (desk.settler.unsettled, desk.settler.unsettled_bytes, desk.settler.ended) == (0, 0, 2)
    assert desk.rooms == 1


async def test_batches_are_limited_in_jobs_and_in_bytes(desk: Desk) -> None:
    session = FakeSession()
    desk.put(*range(MAX_BATCH_JOBS + 1))
    desk.put(10_001, 10_002, size=MAX_BATCH_BYTES * 2)  # too large for any batch: each goes alone
    desk.put(10_003, 10_004, size=MAX_BATCH_BYTES // 2)
    async with desk.run(session):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert [len(batch) for batch in session.batches] == [MAX_BATCH_JOBS, 1, 1, 1, 2]


async def test_a_batch_whose_answer_was_lost_is_sent_again_first_and_in_order(desk: Desk) -> None:
    broken = FakeSession(BrokerUnavailableError("gone"))
    desk.put(1, 2)
    async with desk.run(broken) as task:
        with pytest.raises(BrokerUnavailableError):
            await task
    desk.put(3)
    assert desk.settler.unsettled == 3
    assert desk.book.knows("1-0")
    session = FakeSession()
    async with desk.run(session):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert session.batches == [["1-0", "2-0", "3-0"]]


async def test_a_call_that_is_cut_off_counts_as_lost(desk: Desk) -> None:
    hanging = FakeSession()
    hanging.open.clear()
    desk.put(1)
    async with desk.run(hanging):
        await asyncio.sleep(0.01)
    assert desk.settler.unsettled == 1
    session = FakeSession()
    async with desk.run(session):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert session.batches == [["1-0"]]


async def test_a_lost_lease_is_an_error_and_nothing_counts_as_settled(desk: Desk) -> None:
    desk.put(1)
    async with desk.run(FakeSession(SettleReply(fenced=True))) as task:
        with pytest.raises(FencedError):
            await task
    assert desk.settler.unsettled == 1
    assert desk.settler.ended == 0


async def test_what_redis_refuses_is_kept_said_once_and_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_RETRY_S", 0.02)
    no = SettleReply(failed=(("2-0", "WRONGTYPE dead"),))
    session = FakeSession(no, no)
    desk.put(1, 2)
    with capture_logs() as lines:
        async with desk.run(session):
            await asyncio.sleep(0.005)
            assert desk.settler.held == 1
            assert desk.book.knows("2-0")
            assert not desk.book.knows("1-0")
            await eventually_async(lambda: not desk.settler.unsettled)
    assert session.batches == [["1-0", "2-0"], ["2-0"], ["2-0"]]
    assert [line["error"] for line in lines] == ["WRONGTYPE dead"]
    assert desk.settler.unsettled_bytes == 0


async def test_what_is_dropped_is_not_sent_and_not_counted(desk: Desk) -> None:
    jobs = desk.put(1, 2, 3)
    desk.settler.drop(QUEUE, jobs[:2])
    assert (desk.settler.unsettled, desk.settler.unsettled_bytes) == (1, 10)
    session = FakeSession()
    async with desk.run(session):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert session.batches == [["3-0"]]


async def test_what_is_held_can_be_dropped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_RETRY_S", 0.5)
    session = FakeSession(SettleReply(failed=(("1-0", "OOM"),)))
    jobs = desk.put(1)
    async with desk.run(session):
        await eventually_async(lambda: session.batches)
        desk.settler.drop(QUEUE, jobs)
        await asyncio.sleep(0.7)
    assert session.batches == [["1-0"]]
    assert (desk.settler.unsettled, desk.settler.unsettled_bytes) == (0, 0)


async def test_what_is_dropped_during_its_call_is_counted_once(desk: Desk) -> None:
    session = FakeSession(SettleReply(failed=(("2-0", "OOM"),)))
    session.open.clear()
    jobs = desk.put(1, 2, 3)
    async with desk.run(session):
        await asyncio.sleep(0.01)
        desk.book.drop(["1-0", "2-0"])
        desk.settler.drop(QUEUE, jobs[:2])
        session.open.set()
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert (desk.settler.unsettled, desk.settler.unsettled_bytes, desk.settler.held) == (0, 0, 0)


async def test_the_earliest_due_time_and_lost_replies_are_noted(desk: Desk) -> None:
    job = flight("1-0")
    desk.settler.put(job, Readd("1-0", "1-0", b"message", entry().counters, 1000, due_ms=5))
    assert desk.settler.unsettled_bytes == len(b"message")
    async with desk.run(FakeSession(SettleReply(next_due_ms=5, lost_replies=2))):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
    assert desk.alarm._due_ms == 5
    assert desk.settler.lost_replies == 2
    assert desk.settler.ended == 0  # it goes on


async def test_what_redis_refuses_holds_up_nobody_who_waits_for_the_end(desk: Desk) -> None:
    desk.put(1)
    async with desk.run(FakeSession(SettleReply(failed=(("1-0", "WRONGTYPE"),)))):
        await asyncio.wait_for(desk.settler.wait_empty(), 20)
        assert (desk.settler.held, desk.settler.unsettled) == (1, 1)
