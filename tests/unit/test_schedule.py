import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import pytest

from support.waiting import eventually_async
from workd.broker.ops import MoveReply
from workd.clock import Clock
from workd.schedule import Alarm, move_due, move_inbox, until

if TYPE_CHECKING:
    from workd.broker.session import Session


class FakeSession:
    """Answers as told, and counts."""

    def __init__(self, *due_in_s: float | None, clock_offset_s: float = 0.0) -> None:
        self.due_in_s = list(due_in_s)
        self.clock_offset_s = clock_offset_s
        self.moves: list[float] = []
        self.inbox: asyncio.Queue[bool] = asyncio.Queue()
        self.inbox_moves = 0

    async def move_due(self, queue: str) -> MoveReply:
        self.moves.append(time.monotonic())
        due_in_s = self.due_in_s.pop(0) if self.due_in_s else None
        return MoveReply(
            int(len(self.moves) > 1 and not self.clock_offset_s),
            None if due_in_s is None else int((time.time() + due_in_s) * 1000),
        )

    async def now_ms(self) -> int:
        return int((time.time() + self.clock_offset_s) * 1000)

    async def wait_inbox(self, queue: str, timeout_s: float) -> bool:
        return await self.inbox.get()

    async def move_inbox(self, queue: str) -> int:
        self.inbox_moves += 1
        return 1


def started(work: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(work)


async def test_an_alarm_wakes_when_the_time_has_come() -> None:
    alarm, start = Alarm(Clock()), time.monotonic()
    alarm.note(int((time.time() + 0.1) * 1000))
    await asyncio.wait_for(alarm.wait(asyncio.Event()), 10)
    assert time.monotonic() - start >= 0.09


async def test_an_alarm_follows_the_servers_clock() -> None:
    clock = Clock()
    clock.set_by((time.time() + 1000) * 1000)
    alarm = Alarm(clock)
    alarm.note(int((time.time() + 1000) * 1000))
    await asyncio.wait_for(alarm.wait(asyncio.Event()), 20)


async def test_an_earlier_note_wakes_the_sleeper_and_a_later_one_does_not() -> None:
    alarm = Alarm(Clock())
    alarm.note(int((time.time() + 60) * 1000))
    waiting = started(alarm.wait(asyncio.Event()))
    await asyncio.sleep(0.02)
    alarm.note(int((time.time() + 120) * 1000))
    alarm.note(None)
    await asyncio.sleep(0.02)
    assert not waiting.done()
    alarm.note(int(time.time() * 1000))
    await asyncio.wait_for(waiting, 20)


async def test_an_alarm_without_a_time_sleeps_until_quiet() -> None:
    alarm, quiet = Alarm(Clock()), asyncio.Event()
    waiting = started(alarm.wait(quiet))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    quiet.set()
    await asyncio.wait_for(waiting, 20)


async def test_until_returns_what_the_work_returns_or_raises_what_it_raises() -> None:
    async def fail() -> None:
        raise LookupError

    assert await until(asyncio.Event(), asyncio.sleep(0, "done")) == "done"
    with pytest.raises(LookupError):
        await until(asyncio.Event(), fail())


async def test_until_cancels_the_work_when_it_is_over_and_when_it_is_cancelled_itself() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("work")

    await until(asyncio.Event(), work(), timeout_s=0.02)
    quiet = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, quiet.set)
    await until(quiet, work())
    waiting = started(until(asyncio.Event(), work()))
    await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["work"] * 3


async def test_due_jobs_are_moved_when_they_are_due_and_not_before() -> None:
    session, quiet = FakeSession(0.1, -1.0, None), asyncio.Event()
    moving = started(move_due(cast("Session", session), Alarm(Clock()), "default", quiet))
    await eventually_async(lambda: len(session.moves) >= 3)
    await asyncio.sleep(0.2)
    assert len(session.moves) == 3  # at once, when due, and again since more was due than one call takes
    assert session.moves[1] - session.moves[0] >= 0.09
    quiet.set()
    await asyncio.wait_for(moving, 20)


async def test_a_clock_that_is_ahead_of_the_servers_is_set_and_does_not_make_it_ask_in_a_loop() -> None:
    clock = Clock()
    session, quiet = FakeSession(*[-4.9] * 1000, clock_offset_s=-5.0), asyncio.Event()
    moving = started(move_due(cast("Session", session), Alarm(clock), "default", quiet))
    await asyncio.sleep(0.08)
    assert len(session.moves) <= 2
    before_s, said_s, after_s = time.time(), clock.now_s(), time.time()
    assert before_s - 0.05 < said_s + 5.0 < after_s + 0.05
    quiet.set()
    await asyncio.wait_for(moving, 20)


async def test_a_note_during_a_move_is_not_lost() -> None:
    class Slow(FakeSession):
        async def move_due(self, queue: str) -> MoveReply:
            if not self.moves:
                alarm.note(int((time.time() + 0.05) * 1000))
            return await super().move_due(queue)

    alarm, session, quiet = Alarm(Clock()), Slow(), asyncio.Event()
    moving = started(move_due(cast("Session", session), alarm, "default", quiet))
    await eventually_async(lambda: len(session.moves) >= 2)
    await asyncio.sleep(0.1)
    assert len(session.moves) == 2
    quiet.set()
    await moving


async def test_the_inbox_is_moved_only_when_there_is_something_in_it() -> None:
    session, quiet = FakeSession(), asyncio.Event()
    moving = started(move_inbox(cast("Session", session), "default", quiet))
    for there in (False, True, False, True):
        session.inbox.put_nowait(there)
    await asyncio.sleep(0.05)
    assert session.inbox_moves == 2
    quiet.set()
    await asyncio.wait_for(moving, 20)
