import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from support.waiting import eventually_async
from workd import leases
from workd.broker.entries import Counters, Entry
from workd.broker.ops import RenewReply, TakeoverReply
from workd.clock import Clock
from workd.flights import Book, Flight
from workd.pulse import Pulse
from workd.schedule import Alarm
from workd.tallies import Tallies

if TYPE_CHECKING:
    from workd.broker.session import Session
    from workd.dispatcher import Dispatcher

ORPHAN = Entry("default", "1-1", b"{}", None, None, Counters(takeovers=1), 1, None)


class FakeSession:
    """Answers with so many jobs a pass, then with none."""

    def __init__(self, *jobs: int) -> None:
        self.jobs = list(jobs)
        self.passes = 0

    async def takeover(self, queue: str) -> TakeoverReply:
        self.passes += 1
        count = self.jobs.pop(0) if self.jobs else 0
        return TakeoverReply([ORPHAN] * count, None, ("dead",) if count else ())


class FakeGate:
    """Nothing is paused and nothing waits."""

    def note_paused(self, queue: str, pause: None) -> bool:
        return False

    def note_waiting(self, queue: str, tasks: tuple[str, ...]) -> None:
        pass


class FakeDispatcher:
    """Counts what it is given; there is room when `room` is set."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.alarms = {"default": Alarm(self.clock)}
        self.taking = {"default": asyncio.Lock()}
        self.gate = FakeGate()
        self.renewed_at: dict[str, float] = {}
        self.backlogs: dict[str, object] = {}
        self.tallies = Tallies(["default"], self.clock)
        self.room = asyncio.Event()
        self.taken = 0

    async def wait_room(self) -> None:
        await self.room.wait()

    async def take(self, session: FakeSession, entries: list[Entry]) -> None:
        self.taken += len(entries)


@pytest.fixture(autouse=True)
def _far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TAKEOVER_EVERY_S", 1_000.0)


async def run(session: FakeSession, dispatcher: FakeDispatcher, quiet: asyncio.Event) -> None:
    await leases.take_over(cast("Session", session), cast("Dispatcher", dispatcher), "default", Pulse(), quiet)


async def test_what_a_dead_daemon_left_is_taken_pass_after_pass_without_a_wait() -> None:
    session, dispatcher, quiet = FakeSession(1_000, 1_000, 7), FakeDispatcher(), asyncio.Event()
    dispatcher.room.set()
    running = asyncio.ensure_future(run(session, dispatcher, quiet))
    await eventually_async(lambda: session.passes == 4)
    quiet.set()
    await running
    assert dispatcher.taken == 2_007


async def test_the_next_pass_waits_for_room_in_the_pool() -> None:
    session, dispatcher, quiet = FakeSession(1_000, 1_000), FakeDispatcher(), asyncio.Event()
    running = asyncio.ensure_future(run(session, dispatcher, quiet))
    await eventually_async(lambda: dispatcher.taken == 1_000)
    for _ in range(10):
        await asyncio.sleep(0)
    assert session.passes == 1
    dispatcher.room.set()
    await eventually_async(lambda: dispatcher.taken == 2_000)
    quiet.set()
    await running


async def test_a_wish_that_came_too_early_is_asked_about_soon_and_not_at_the_next_renewal() -> None:
    session, dispatcher = RenewingSession("1-0"), HoldingDispatcher("1-0")
    missed, departing = asyncio.Event(), asyncio.Event()
    renewing = asyncio.ensure_future(
        leases.renew(
            cast("Session", session), cast("Dispatcher", dispatcher), ["default"], 3600, Pulse(), departing, missed
        )
    )
    await eventually_async(lambda: session.renewals == 1)
    session.cancelled = frozenset({"1-0"})
    missed.set()
    await eventually_async(lambda: dispatcher.cancelled == ["1-0"])
    assert session.renewals == 2
    departing.set()
    await renewing


class RenewingSession:
    """Says of each renewal what is cancelled."""

    def __init__(self, *job_ids: str) -> None:
        self.job_ids = list(job_ids)
        self.cancelled: frozenset[str] = frozenset()
        self.renewals = 0

    async def renew(self, queue: str, job_ids: list[str]) -> RenewReply:
        assert (queue, job_ids) == ("default", self.job_ids)
        self.renewals += 1
        return RenewReply(fenced=False, cancelled=self.cancelled)


class HoldingDispatcher:
    """Has some jobs in hand, and notes which are cancelled."""

    def __init__(self, *job_ids: str) -> None:
        book = Book("default")
        for job_id in job_ids:
            book.open(Flight(ORPHAN._replace(entry_id=job_id), job_id))
        self.books = {"default": book}
        self.renewed_at: dict[str, float] = {}
        self.cancelled: list[str] = []

    def cancel(self, queue: str, job_ids: frozenset[str]) -> bool:
        self.cancelled += sorted(job_ids)
        return True
