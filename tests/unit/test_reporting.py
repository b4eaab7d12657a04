"""What systemd is told, and when; with a manager and vitals that do as they are told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from support.waiting import eventually_async
from workd.health import Report
from workd.reporting import AFTER_DRAIN_S, EXTEND_S, Reporter
from workd.states import State


class Manager:
    """Keeps what it is told; `deaf`: its buffer is full."""

    is_heard = True
    watchdog_interval_s = 0.001

    def __init__(self) -> None:
        self.told: list[str] = []
        self.deaf = False
        self.watchdog_s: float | None = 0.003

    def _take(self, what: str) -> bool:
        if not self.deaf:
            self.told.append(what)
        return not self.deaf

    def ready(self, status: str = "") -> bool:
        return self._take("ready")

    def reloading(self, status: str = "") -> bool:
        return self._take("reloading")

    def stopping(self, status: str = "") -> bool:
        return self._take("stopping")

    def status(self, text: str) -> bool:
        return self._take(f"status {text}")

    def watchdog(self) -> bool:
        return self._take("watchdog")

    def extend_timeout(self, seconds: float) -> bool:
        return self._take(f"extend {seconds:g}")


class Daemon:
    """Vitals, and the drain's time."""

    queues = ("default",)

    def __init__(self) -> None:
        self.state = State.BOOTING
        self.is_ready = self.is_live = True
        self.line = "one"
        self.left_s = 20.0
        self.looks = 0

    def sample(self) -> None:
        self.looks += 1

    def ready(self) -> Report:
        return Report(self.is_ready)

    def live(self) -> Report:
        return Report(self.is_live)

    def details(self) -> dict[str, object]:
        return {"workers": 2}

    def status_line(self) -> str:
        return self.line

    async def wait_change(self, timeout_s: float) -> None:
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.manager, self.daemon = Manager(), Daemon()
        notifier, vitals = cast("Any", self.manager), cast("Any", self.daemon)
        self.reporter = Reporter(notifier, vitals, lambda: self.daemon.left_s)
        self.running: asyncio.Future[None] | None = None

    async def looks(self, count: int = 3) -> list[str]:
        """Let it look so often; return what it said."""
        self.running = self.running or asyncio.ensure_future(self.reporter.run())
        del self.manager.told[:]
        until = self.daemon.looks + count
        await eventually_async(lambda: self.daemon.looks >= until)
        return self.manager.told


@pytest.fixture
async def world() -> Any:
    world = World()
    yield world
    if world.running is not None:
        world.running.cancel()
        await asyncio.wait({world.running})


async def test_ready_is_said_once_and_not_before_it_is_so(world: World) -> None:
    world.daemon.is_ready = False
    assert "ready" not in await world.looks()
    world.daemon.is_ready, world.daemon.state = True, State.RUNNING
    assert (await world.looks()).count("ready") == 1
    world.daemon.is_ready = False
    await world.looks()
    world.daemon.is_ready = True
    assert "ready" not in await world.looks()


async def test_what_the_manager_could_not_take_is_said_again(world: World) -> None:
    world.manager.deaf = True
    await world.looks()
    world.manager.deaf = False
    said = await world.looks()
    assert said.count("ready") == 1
    assert said.count("status one") == 1


async def test_the_status_line_is_sent_when_it_changes(world: World) -> None:
    await world.looks()
    assert not any(what.startswith("status") for what in await world.looks())
    world.daemon.line = "two"
    assert (await world.looks()).count("status two") == 1


async def test_the_watchdog_is_fed_while_the_daemon_lives_and_only_where_one_watches(world: World) -> None:
    assert "watchdog" in await world.looks()
    world.daemon.is_live = False
    await world.looks()
    assert "watchdog" not in await world.looks()
    world.daemon.is_live, world.manager.watchdog_s = True, None
    await world.looks()
    assert "watchdog" not in await world.looks()


async def test_more_time_is_asked_for_until_it_is_ready(world: World) -> None:
    world.daemon.is_ready = False
    assert f"extend {EXTEND_S:g}" in await world.looks()
    world.daemon.state = State.RUNNING  # and waits for Redis
    assert f"extend {EXTEND_S:g}" in await world.looks()
    world.daemon.state = State.QUIET  # somebody has stopped it on purpose before it could be ready
    assert f"extend {EXTEND_S:g}" in await world.looks()
    world.daemon.is_ready = True
    await world.looks()
    world.daemon.is_ready = False
    await world.looks()
    assert not any(what.startswith("extend") for what in await world.looks())


async def test_a_drain_asks_for_the_time_it_may_take_and_after_its_deadline_for_none(world: World) -> None:
    world.daemon.state = State.DRAINING
    await world.looks()
    assert f"extend {20 + AFTER_DRAIN_S:g}" in await world.looks()
    world.daemon.is_live = False
    await world.looks()
    assert not any(what.startswith("extend") for what in await world.looks()), "it does not go on usefully"
    world.daemon.is_live, world.daemon.left_s = True, -AFTER_DRAIN_S
    await world.looks()
    assert not any(what.startswith("extend") for what in await world.looks())


async def test_a_reload_ends_with_ready_also_if_the_manager_was_busy(world: World) -> None:
    world.daemon.state = State.RUNNING
    await world.looks()
    world.reporter.reloading()
    assert world.manager.told[-1] == "reloading"
    world.manager.deaf = True
    world.reporter.reloaded()
    world.manager.deaf = False
    assert (await world.looks()).count("ready") == 1


async def test_a_reload_before_the_daemon_is_ready_does_not_make_it_so(world: World) -> None:
    world.daemon.is_ready = False
    await world.looks()
    world.reporter.reloading()
    world.reporter.reloaded()
    said = await world.looks()
    assert "ready" not in said
    assert "reloading" not in said


async def test_a_drain_during_a_reload_is_not_ready_again(world: World) -> None:
    world.daemon.state = State.RUNNING
    await world.looks()
    world.reporter.reloading()
    world.reporter.stopping()
    world.reporter.reloaded()
    assert "ready" not in await world.looks()
