"""What the settler brings into other queues before it settles."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from support.flying import QUEUE, flight
from support.waiting import eventually_async
from workd import settler as module
from workd.broker.kinship import Kin, Post
from workd.broker.ops import Finish, RenewReply, Settlement, SettleReply
from workd.clock import Clock
from workd.errors import BrokerUnavailableError, FencedError
from workd.flights import Book, Flight
from workd.pulse import Pulse
from workd.schedule import Alarm
from workd.settler import Settler

if TYPE_CHECKING:
    from workd.broker.session import Session


class FakeSession:
    """Writes down what is asked of it, in order."""

    def __init__(self, taken: Sequence[str] = (), refusals: Sequence[str] = ()) -> None:
        self.calls: list[str] = []
        self._taken = list(taken)
        self._refusals = list(refusals)
        self.breaks = False
        self.renewal = RenewReply(fenced=False)

    async def taken(self, queue: str, entry_ids: Sequence[str]) -> list[str]:
        self.calls.append(f"taken {' '.join(entry_ids)}")
        return self._taken

    async def post(self, post: Post) -> str:
        self.calls.append(f"post {post.id}" if post.course != "cancel" else f"cancel {post.chain} in {post.queue}")
        if self.breaks:
            self.breaks = False
            raise BrokerUnavailableError("gone")
        return self._refusals.pop(0) if self._refusals else ""

    async def renew(self, queue: str, names: Sequence[str]) -> RenewReply:
        self.calls.append(f"renew {' '.join(names)}")
        return self.renewal

    async def settle(self, queue: str, items: Sequence[Settlement]) -> SettleReply:
        self.calls.append(f"settle {' '.join(item.entry_id for item in items)}")
        return SettleReply()


class Desk:
    """A settler with its book."""

    def __init__(self) -> None:
        self.book = Book(QUEUE)
        self.settler = Settler({QUEUE: self.book}, {QUEUE: Alarm(Clock())}, lambda _: None)

    def put(self, number: int, kin: Kin | None = None) -> Flight:
        job = flight(f"{number}-0")
        job.kin_ids = () if kin is None else ("c",)
        self.book.open(job)
        self.settler.put(job, Finish(f"{number}-0", f"{number}-0", b"{}", 60.0, kin=kin))
        return job

    @asynccontextmanager
    async def run(self, session: FakeSession) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.ensure_future(self.settler.run(cast("Session", session), Pulse(), QUEUE))
        yield task
        task.cancel()
        with suppress(asyncio.CancelledError, BrokerUnavailableError):
            await task


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def elsewhere(name: str) -> Kin:
    return Kin("c", post=Post("images", name, b"{}"))


async def test_another_queue_hears_of_a_chain_before_the_step_is_settled(desk: Desk) -> None:
    session = FakeSession()
    desk.put(1)
    desk.put(2, elsewhere("c.1"))
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert session.calls == ["taken 2-0", "post c.1", "settle 1-0 2-0"]


async def test_jobs_that_have_no_kin_elsewhere_ask_nobody(desk: Desk) -> None:
    session = FakeSession()
    desk.put(1)
    desk.put(2, Kin("c", following=b"{}"))
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert session.calls == ["settle 1-0 2-0"]


async def test_what_is_another_daemons_now_is_told_to_nobody(desk: Desk) -> None:
    session = FakeSession(taken=["2-0"])
    desk.put(2, elsewhere("c.1"))
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert session.calls == ["taken 2-0", "settle 2-0"]  # which the script skips


async def test_a_queue_that_cannot_take_it_holds_back_that_job_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_RETRY_S", 0.02)
    session = FakeSession(refusals=["seen:c.1: WRONGTYPE"])
    desk.put(1)
    held = desk.put(2, elsewhere("c.1"))
    with capture_logs() as logs:
        async with desk.run(session):
            await eventually_async(lambda: desk.settler.ended == 2)
    assert session.calls == ["taken 2-0", "post c.1", "settle 1-0", "taken 2-0", "post c.1", "settle 2-0"]
    assert [line["error"] for line in logs] == ["seen:c.1: WRONGTYPE"]
    assert held.complaint


async def test_after_a_break_it_is_brought_again(desk: Desk) -> None:
    session = FakeSession()
    session.breaks = True
    desk.put(2, elsewhere("c.1"))
    async with desk.run(session) as task:
        await asyncio.wait({task})
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert session.calls == ["taken 2-0", "post c.1", "taken 2-0", "post c.1", "settle 2-0"]


async def test_a_next_step_does_not_wait_for_company(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 60.0)
    session = FakeSession()
    async with desk.run(session):
        for number in range(1, 4):
            desk.put(number, Kin("c", following=b"{}"))
            await desk.settler.wait_empty()
    assert len(session.calls) == 3


async def test_the_next_steps_of_chains_count_in_the_size_of_a_batch_though_no_outcome_goes_with_them(
    desk: Desk,
) -> None:
    session = FakeSession()
    large = b"x" * (module.MAX_BATCH_BYTES // 2 - 1000)
    ties = [Kin("c", following=large), Kin("c", post=Post("images", "c.1", large)), Kin("c", following=large)]
    for number, tie in enumerate(ties):
        job = desk.put(number, tie)
        assert isinstance(job.settlement, Finish)
        desk.settler.drop(QUEUE, [job])
        desk.settler.put(job, job.settlement._replace(outcome=None))
    assert desk.settler.unsettled_bytes == 3 * len(large + b"}")
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert [call for call in session.calls if call.startswith("settle")] == ["settle 0-0 1-0", "settle 2-0"]
    assert desk.settler.unsettled_bytes == 0


async def test_all_that_goes_into_other_queues_goes_at_once(desk: Desk) -> None:
    session, under_way = FakeSession(), asyncio.Event()

    async def post(post: Post) -> str:
        session.calls.append(f"post {post.id}")
        if len(session.calls) == 4:
            under_way.set()
        await under_way.wait()
        return "in the way" if post.id == "c.2" else ""

    session.post = post  # type: ignore[method-assign]
    for number in range(1, 4):
        desk.put(number, elsewhere(f"c.{number}"))
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert session.calls == ["taken 1-0 2-0 3-0", "post c.1", "post c.2", "post c.3", "settle 1-0 3-0"]
    assert desk.settler.held == 1


GONE = Kin("c", post=Post("images", "c.1", b"{}"), chain="c", course="1 > images")


async def test_a_chain_that_was_cancelled_just_before_it_was_known_to_be_elsewhere_is_cancelled_there(
    desk: Desk,
) -> None:
    session = FakeSession(refusals=["", "> images", "> other"])
    session.renewal = RenewReply(fenced=False, cancelled=frozenset({"c"}))
    desk.put(1, GONE)
    async with desk.run(session):
        await desk.settler.wait_empty()
    job = "1-0"  # no chain of its message: it is the first step
    home = [f"cancel {job} in {QUEUE}", f"cancel {QUEUE}:{job} in images", f"cancel {QUEUE}:{job} in other"]
    assert session.calls == ["taken 1-0", "post c.1", "settle 1-0", "renew c", *home]


async def test_of_a_chain_that_nobody_cancels_and_of_one_at_its_end_no_wish_is_brought(desk: Desk) -> None:
    session = FakeSession()
    desk.put(1, GONE)
    desk.put(2, elsewhere("c.1"))
    async with desk.run(session):
        await desk.settler.wait_empty()
    assert session.calls == ["taken 1-0 2-0", "post c.1", "post c.1", "settle 1-0 2-0", "renew c"]


async def test_a_wish_that_cannot_be_brought_is_told_and_holds_up_no_end(desk: Desk) -> None:
    session = FakeSession(refusals=["", "the key is somebody else's"])
    session.renewal = RenewReply(fenced=False, cancelled=frozenset({"c"}))
    desk.put(1, GONE)
    with capture_logs() as lines:
        async with desk.run(session):
            await desk.settler.wait_empty()
    assert [(line["log_level"], line["error"]) for line in lines] == [("warning", "the key is somebody else's")]
    assert not desk.book.flights


async def test_a_lease_that_is_lost_at_that_moment_ends_the_session(desk: Desk) -> None:
    session = FakeSession()
    session.renewal = RenewReply(fenced=True)
    desk.put(1, GONE)
    with pytest.raises(FencedError):
        async with desk.run(session) as running:
            await asyncio.wait({running})
