"""The watchdog is fed while every part passes its own check: a hang of one starves it, and nothing else does."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from support.notify import NotifySocket
from support.supervisors import supervisor
from support.waiting import eventually, eventually_async
from workd import consumer, settler, vitals
from workd.broker.session import Session
from workd.pool.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue
    from support.servers import Server
    from workd.supervisor import Supervisor

PATIENCE_S = 60.0
FEEDS = 12  # at three in a second, longer than any bound of the tests below
WATCHDOG_S = 1.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as manager:
        yield manager


@pytest.fixture
async def running(
    queue: FaultQueue, tmp_path: Path, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Supervisor]:
    """A supervisor in this loop, with bounds that a test can wait for."""
    monkeypatch.setattr(vitals, "LOOP_BOUND_S", 0.5)
    monkeypatch.setattr(vitals, "SETTLE_BOUND_S", 1.0)
    monkeypatch.setattr(consumer, "CALL_S", 1.0)
    monkeypatch.setattr(settler, "SETTLE_BOUND_S", 1.0)
    async with supervisor(queue.server.url, tmp_path, manager, monkeypatch) as running:
        yield running


async def starved(running: Supervisor, manager: NotifySocket) -> list[str]:
    """Wait until the daemon is not live, see that it feeds no more, however often it looks; return why."""
    await eventually_async(lambda: not running._vitals.live().ok, PATIENCE_S)
    reasons = list(running._vitals.live().reasons)
    manager.catch_up()
    fed = len(manager.said("WATCHDOG"))
    assert fed, "it was fed before"
    looked = 0
    sample = running._vitals.sample

    def counting() -> None:
        nonlocal looked
        looked += 1
        sample()

    running._vitals.sample = counting  # type: ignore[method-assign]
    while looked < FEEDS:
        running._dispatcher.on_change()
        await asyncio.sleep(0.01)
    manager.catch_up()
    assert len(manager.said("WATCHDOG")) == fed
    return reasons


async def for_ever(*_: object, **__: object) -> Any:
    await asyncio.Event().wait()


async def test_a_fetch_that_hangs_starves_the_watchdog(
    running: Supervisor, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "fetch", for_ever)
    assert any("the fetch" in reason for reason in await starved(running, manager))


async def test_a_fetcher_that_sleeps_though_there_is_room_starves_the_watchdog(
    running: Supervisor, queue: FaultQueue, manager: NotifySocket
) -> None:
    jobs = [queue.push("hold", "gate") for _ in range(3)]
    await eventually_async(lambda: len(queue.runs()) == 2, PATIENCE_S)
    await eventually_async(lambda: running._consumer.pulse.waits_for_room, PATIENCE_S)
    running._dispatcher.room_changed.set = lambda: None  # type: ignore[method-assign]
    queue.open_gate("gate")
    assert any("there is room" in reason for reason in await starved(running, manager))
    assert jobs


async def test_a_settle_call_that_hangs_starves_the_watchdog(
    running: Supervisor, queue: FaultQueue, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "settle", for_ever)
    monkeypatch.setattr(vitals, "SETTLE_BOUND_S", 60.0)  # the call itself has a bound
    queue.push("quick")
    assert any("settling" in reason for reason in await starved(running, manager))


async def test_a_settler_that_sleeps_though_there_is_work_starves_the_watchdog(
    running: Supervisor, queue: FaultQueue, manager: NotifySocket
) -> None:
    (box,) = running._dispatcher.settler._outboxes.values()
    box.lane.wake.set = lambda: None  # type: ignore[method-assign]
    queue.push("quick")
    assert any("the recording of what has ended" in reason for reason in await starved(running, manager))


async def test_a_pool_whose_timers_hang_starves_the_watchdog(
    running: Supervisor, queue: FaultQueue, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "_look", lambda self: None)
    queue.push("hold", "never")
    assert any("the pool's look at its timers" in reason for reason in await starved(running, manager))


async def test_a_pool_that_does_not_fill_its_slots_starves_the_watchdog(
    running: Supervisor, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running._pool.boots, "want", lambda slot: None)
    os.kill(running._pool.stats().workers[0].pid, signal.SIGKILL)
    assert any("an empty slot" in reason for reason in await starved(running, manager))


def test_a_loop_that_stands_still_starves_the_watchdog(start_daemon: StartDaemon, manager: NotifySocket) -> None:
    daemon = start_daemon(environment=manager.environment(WATCHDOG_S))
    manager.wait("WATCHDOG", count=3)
    daemon.pause()
    eventually(lambda: any(info.state == "T" for info in [state_of(daemon.pid)]))
    manager.catch_up()
    fed = len(manager.said("WATCHDOG"))
    manager.catch_up()
    assert len(manager.said("WATCHDOG")) == fed
    daemon.resume()
    manager.wait("WATCHDOG", count=fed + 1)


def test_who_is_aborted_by_the_watchdog_says_where_it_was(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    daemon.send(signal.SIGABRT)
    assert daemon.wait(PATIENCE_S) == -signal.SIGABRT
    said = daemon.log_text()
    assert "Fatal Python error: Aborted" in said
    assert "supervisor.py" in said.partition("Fatal Python error")[2]


def state_of(pid: int) -> Any:
    from support.daemons import _process_info

    return _process_info(pid)


# ── what is no hang ──


def fed_all_the_time(manager: NotifySocket) -> None:
    """See that it goes on being fed."""
    manager.wait("WATCHDOG", count=len(manager.said("WATCHDOG")) + FEEDS, timeout_s=PATIENCE_S)


def test_an_idle_daemon_feeds_it(start_daemon: StartDaemon, manager: NotifySocket) -> None:
    start_daemon(environment=manager.environment(WATCHDOG_S))
    fed_all_the_time(manager)


def test_a_pool_full_of_long_jobs_feeds_it(queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket) -> None:
    start_daemon(environment=manager.environment(WATCHDOG_S))
    jobs = [queue.push("hold", "gate") for _ in range(5)]
    eventually(lambda: len(queue.runs()) == 2, PATIENCE_S)
    fed_all_the_time(manager)
    queue.open_gate("gate")
    queue.all_ended(jobs)


def test_a_forkserver_that_is_being_replaced_feeds_it(
    queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket
) -> None:
    daemon = start_daemon(
        ready=False,
        modules=("support.slow_boot_tasks", "support.fault_tasks"),
        environment=manager.environment(WATCHDOG_S),
    )
    queue.open_gate("import")
    daemon.wait_ready()
    (queue.folder / "import").unlink()
    (pid,) = daemon.forkserver_pids()
    os.kill(pid, signal.SIGKILL)
    daemon.wait_log("the forkserver died; its workers go on, a new one is started")
    for worker in daemon.worker_pids():
        os.kill(worker, signal.SIGKILL)  # so that slots are empty, too
    fed_all_the_time(manager)
    queue.open_gate("import")
    queue.succeeded(queue.push("quick"), timeout_s=PATIENCE_S)


@pytest.mark.parametrize("away", ["stopped", "paused"])
def test_a_wait_for_redis_feeds_it_and_ends_nothing(
    lasting_queue: FaultQueue, start_daemon: StartDaemon, manager: NotifySocket, away: str
) -> None:
    server: Server = lasting_queue.server
    daemon = start_daemon(environment=manager.environment(WATCHDOG_S))
    if away == "stopped":
        server.stop()
    else:
        server.pause()
    daemon.wait_log("Redis is not usable; trying again until it is", timeout_s=PATIENCE_S)
    fed_all_the_time(manager)
    if away == "stopped":
        server.start()
    else:
        server.resume()
    lasting_queue.succeeded(lasting_queue.push("quick"), timeout_s=PATIENCE_S)
    assert daemon.alive
