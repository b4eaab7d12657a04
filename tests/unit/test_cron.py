"""The schedule at work, with a clock that is set by hand and a Redis that remembers what fired."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from support.waiting import eventually_async
from workd import cron
from workd.broker import firing
from workd.broker.firing import Fired, FireReply, Firing
from workd.clock import Clock
from workd.cron import Timetable, keep_time
from workd.crontab import Line
from workd.errors import FencedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workd.broker.session import Session

NOW = 1_900_000_000 - 1_900_000_000 % 3600  # a full hour
QUEUE = "default"
CATALOGUE: Mapping[str, Mapping[str, Any]] = {"report": {}, "resize": {"queue": "images"}}


class HandClock(Clock):
    """Shows what it was set to."""

    def __init__(self, now_s: float = NOW) -> None:
        super().__init__()
        self.now = now_s

    def set_by(self, server_now_ms: float, asked_at_s: float | None = None) -> None:
        self.now = server_now_ms / 1000

    def now_s(self) -> float:
        return self.now


class Marks:
    """What Redis knows of a queue's lines, and what was enqueued; in place of what asks it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.last: dict[str, int] = {}
        self.fired: list[tuple[str, int]] = []
        self.asked: list[Mapping[str, str]] = []
        self.refuse = ""
        self.fenced = False
        self.ahead_s = 0

    async def marks(self, session: object, queue: str, words: Mapping[str, str]) -> dict[str, int] | None:
        self.asked.append(words)
        if self.fenced:
            return None
        return {
            name: self.last.setdefault(name, int(self.clock.now_s())) if word else 0 for name, word in words.items()
        }

    async def fire(self, session: object, queue: str, firings: Sequence[Firing]) -> FireReply:
        if self.fenced:
            return FireReply(fenced=True)
        now_s = self.clock.now_s() - self.ahead_s
        return FireReply(tuple(self._fire(one, now_s) for one in firings), int(now_s * 1000), self._errors())

    def _errors(self) -> tuple[str, ...]:
        return (self.refuse,) if self.refuse else ()

    def _fire(self, one: Firing, now_s: float) -> Fired:
        if self.refuse:
            return Fired.REFUSED
        if one.at_s > now_s:
            return Fired.TOO_EARLY
        if one.at_s <= self.last.get(one.name, 0):
            return Fired.BEFORE
        self.last[one.name] = one.at_s
        self.fired.append((one.name, one.at_s - NOW))
        return Fired.NOW

    @property
    def session(self) -> Session:
        return cast("Session", self)


def line(expression: str = "0 * * * *", **fields: Any) -> Line:
    return Line(task="report", cron=expression, **fields)


async def opened(marks: Marks, **lines: Line) -> Timetable:
    timetable = Timetable(marks.clock)
    timetable.take(lines, [QUEUE], CATALOGUE)
    await timetable.open(marks.session, QUEUE)
    return timetable


async def tick(timetable: Timetable, marks: Marks) -> float:
    """One turn of the loop; return how long it would sleep."""
    if firings := await timetable.due(QUEUE):
        await cron._fire(marks.session, timetable, QUEUE, firings)
    return timetable.sleep_s(QUEUE)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def marks(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Marks:
    marks = Marks(clock)
    monkeypatch.setattr(firing, "marks", marks.marks)
    monkeypatch.setattr(firing, "fire", marks.fire)
    return marks


async def test_a_line_fires_when_its_time_comes_and_once(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, hourly=line())
    assert await tick(timetable, marks) == cron.LONGEST_SLEEP_S
    clock.now = NOW + 3590
    assert await tick(timetable, marks) == 10
    assert marks.fired == []
    clock.now = NOW + 3600.2
    await tick(timetable, marks)
    clock.now = NOW + 3601
    await tick(timetable, marks)
    assert marks.fired == [("hourly", 3600)]


async def test_what_another_daemon_has_fired_is_not_fired_again(clock: HandClock, marks: Marks) -> None:
    one, two = await opened(marks, hourly=line()), await opened(marks, hourly=line())
    for hour in range(1, 4):
        clock.now = NOW + 3600 * hour
        await tick(one, marks)
        await tick(two, marks)
    assert marks.fired == [("hourly", 3600 * hour) for hour in range(1, 4)]
    assert two.sleep_s(QUEUE) == cron.LONGEST_SLEEP_S


@pytest.mark.parametrize(
    ("policy", "fired"),
    [("none", []), ("last", [5 * 3600]), ("all", [3 * 3600, 4 * 3600, 5 * 3600])],
)
async def test_the_policy_says_what_is_done_about_what_was_missed(
    policy: Any, fired: list[int], clock: HandClock, marks: Marks
) -> None:
    timetable = await opened(marks, hourly=line(catch_up=policy, catch_up_max=3))
    clock.now = NOW + 5 * 3600 + 1800
    await tick(timetable, marks)
    await tick(timetable, marks)
    assert [offset for _, offset in marks.fired] == fired
    clock.now = NOW + 6 * 3600
    await tick(timetable, marks)
    assert [offset for _, offset in marks.fired] == [*fired, 6 * 3600]


@pytest.mark.parametrize("policy", ["none", "last", "all"])
async def test_what_is_a_little_late_was_not_missed(policy: Any, clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, each=line("* * * * * *", catch_up=policy))
    clock.now = NOW + 7.5
    await tick(timetable, marks)
    assert [offset for _, offset in marks.fired] == [1, 2, 3, 4, 5, 6, 7]


async def test_of_a_line_for_every_second_an_outage_leaves_the_last_seconds(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, each=line("* * * * * *"))
    clock.now = NOW + 1_000_000
    await tick(timetable, marks)
    assert [offset for _, offset in marks.fired] == list(range(999_991, 1_000_001))


async def test_a_daemon_that_starts_after_an_outage_knows_what_was_missed(clock: HandClock, marks: Marks) -> None:
    await opened(marks, hourly=line())
    clock.now = NOW + 10 * 3600 + 60
    later = await opened(marks, hourly=line())
    await tick(later, marks)
    assert marks.fired == [("hourly", 10 * 3600)]


async def test_what_redis_refuses_is_tried_again(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, hourly=line())
    clock.now, marks.refuse = NOW + 3600, "OOM"
    firings = await timetable.due(QUEUE)
    assert await cron._fire(marks.session, timetable, QUEUE, firings) == cron.REFUSED_PAUSE_S
    marks.refuse = ""
    clock.now += 1
    await tick(timetable, marks)
    assert marks.fired == [("hourly", 3600)]


async def test_behind_a_refused_fire_time_its_line_goes_no_further(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, hourly=line(catch_up="all"))
    clock.now = NOW + 2 * 3600
    firings = await timetable.due(QUEUE)
    assert [one.at_s - NOW for one in firings] == [3600, 7200]
    timetable.note(QUEUE, firings, FireReply((Fired.REFUSED, Fired.NOW)))
    assert await timetable.due(QUEUE) == firings


async def test_a_clock_that_is_ahead_is_set_and_nothing_fires_early(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, hourly=line())
    clock.now, marks.ahead_s = NOW + 3600, 5
    firings = await timetable.due(QUEUE)
    assert await cron._fire(marks.session, timetable, QUEUE, firings) == cron.EARLY_PAUSE_S
    assert (marks.fired, clock.now) == ([], NOW + 3595)
    marks.ahead_s = 0
    assert await tick(timetable, marks) == 5
    clock.now += 5
    await tick(timetable, marks)
    assert marks.fired == [("hourly", 3600)]


async def test_only_lines_of_queues_that_are_served_are_fired(marks: Marks) -> None:
    timetable = Timetable(marks.clock)
    lines = {
        "own": line(),
        "named": line(queue="images"),
        "by task": Line(task="resize", cron="@daily"),
        "unknown": Line(task="nobody", cron="@daily"),
    }
    timetable.take(lines, [QUEUE], CATALOGUE)
    await timetable.open(marks.session, "images")
    assert not marks.asked
    await timetable.open(marks.session, QUEUE)
    assert set(marks.asked[0]) == {"own", "unknown"}


async def test_a_line_of_the_settings_goes_before_that_of_its_task(marks: Marks) -> None:
    catalogue = {
        "hourly": {"cron": "@hourly"},
        "daily": {"cron": "@daily", "queue": "images"},
        "off": {"cron": "@daily"},
    }
    timetable = Timetable(marks.clock)
    timetable.take({"hourly": line("@weekly"), "off": line(enabled=False)}, [QUEUE, "images"], catalogue)
    await timetable.open(marks.session, QUEUE)
    assert marks.asked == [{"hourly": line("@weekly").fingerprint, "off": ""}]
    await timetable.open(marks.session, "images")
    assert marks.asked[1].keys() == {"daily"}


async def test_a_line_that_is_switched_off_is_forgotten_and_not_fired(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, off=line(enabled=False))
    assert marks.asked == [{"off": ""}]
    clock.now += 7200
    await tick(timetable, marks)
    assert marks.fired == []
    await timetable.open(marks.session, QUEUE)
    assert len(marks.asked) == 1


async def test_a_new_session_does_not_begin_anew(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, hourly=line())
    clock.now = NOW + 3 * 3600 + 60
    await timetable.open(marks.session, QUEUE)
    await tick(timetable, marks)
    assert (marks.fired, len(marks.asked)) == ([("hourly", 3 * 3600)], 1)


async def test_a_lost_lease_ends_the_session(clock: HandClock, marks: Marks) -> None:
    timetable = await opened(marks, hourly=line())
    clock.now, marks.fenced = NOW + 3600, True
    with pytest.raises(FencedError):
        await tick(timetable, marks)
    with pytest.raises(FencedError):
        await opened(marks, other=line())


async def test_the_loop_sleeps_fires_and_ends_when_it_is_quiet(clock: HandClock, marks: Marks) -> None:
    timetable, quiet = Timetable(clock), asyncio.Event()
    timetable.take({"each": line("* * * * * *")}, [QUEUE], CATALOGUE)
    clock.now = NOW + 0.99
    loop = asyncio.ensure_future(keep_time(marks.session, timetable, QUEUE, quiet))
    await eventually_async(lambda: marks.asked)
    clock.now = NOW + 1.0
    await eventually_async(lambda: marks.fired)
    quiet.set()
    await asyncio.wait_for(loop, 20)
    assert marks.fired == [("each", 1)]


async def test_lines_that_come_with_a_reload_are_fired_and_those_that_go_are_not(
    clock: HandClock, marks: Marks
) -> None:
    timetable, quiet = Timetable(clock), asyncio.Event()
    loop = asyncio.ensure_future(keep_time(marks.session, timetable, QUEUE, quiet))
    await asyncio.sleep(0)
    assert not marks.asked, "a queue without lines asks nothing"
    timetable.take({"old": line(), "kept": line()}, [QUEUE], CATALOGUE)
    await eventually_async(lambda: marks.asked)
    clock.now = NOW + 3600
    timetable.take({"new": line("* * * * * *"), "kept": line()}, [QUEUE], CATALOGUE)
    await eventually_async(lambda: ("kept", 3600) in marks.fired)
    await eventually_async(lambda: len(marks.asked) == 2)
    assert marks.asked[1].keys() == {"new"}, "what is as it was goes on from where it stands"
    clock.now += 1
    timetable.take({"new": line("* * * * * *"), "kept": line()}, [QUEUE], CATALOGUE)
    await eventually_async(lambda: ("new", 3601) in marks.fired)
    quiet.set()
    await asyncio.wait_for(loop, 5)
    assert {name for name, _ in marks.fired} == {"kept", "new"}


async def test_a_line_goes_on_when_the_clock_of_redis_was_set_back(marks: Marks) -> None:
    timetable = await opened(marks, hourly=line())
    marks.clock.set_by((NOW + 10 * 86_400) * 1000)  # wrong by ten days
    await tick(timetable, marks)
    assert [name for name, _ in marks.fired] == ["hourly"]
    marks.clock.set_by((NOW + 600) * 1000)
    marks.last.clear()  # as the script does not count such a mark
    assert await tick(timetable, marks) <= cron.LONGEST_SLEEP_S
    marks.clock.set_by((NOW + 3600) * 1000)
    await tick(timetable, marks)
    assert marks.fired[1:] == [("hourly", 3600)]
