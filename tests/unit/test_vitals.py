import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workd.pulse import Pulse
from workd.states import State
from workd.vitals import LOOP_BOUND_S, Vitals


class Daemon:
    """Just what the vitals look at."""

    def __init__(self) -> None:
        self.slots = [SimpleNamespace(ready=True, closing=False), SimpleNamespace(ready=True, closing=False)]
        self.boots = SimpleNamespace(last_error=None, degraded=False)
        self.pool = SimpleNamespace(slots=self.slots, boots=self.boots, running=lambda: ["job"] * 3)
        self.settler = SimpleNamespace(held=0, unsettled=4, ended=5, lost_replies=6)
        self.dispatcher = SimpleNamespace(
            settler=self.settler, books={"default": None}, state_changed=asyncio.Event(), crashes=1, deaths=2
        )
        self.pulse = Pulse(connected=True, consuming=True, trouble="")
        self.vitals = Vitals(cast("Any", self.pool), cast("Any", self.dispatcher), self.pulse)
        self.vitals.state = State.RUNNING


@pytest.fixture
async def daemon() -> Daemon:
    return Daemon()


async def test_a_daemon_that_consumes_is_live_and_ready(daemon: Daemon) -> None:
    assert daemon.vitals.live().ok
    assert daemon.vitals.ready().ok
    assert daemon.vitals.status_line() == "consuming 1 queue, 2/2 workers, 3 jobs in hand"


async def test_a_fetch_that_does_not_come_back_is_a_stuck_loop(daemon: Daemon) -> None:
    daemon.pulse.expect("the fetch", 1 - LOOP_BOUND_S)
    assert daemon.vitals.live().ok
    daemon.pulse.expect("the fetch", -1 - LOOP_BOUND_S)
    report = daemon.vitals.live()
    assert not report.ok
    assert "the fetch is overdue by" in report.reasons[0]


async def test_a_loop_that_rests_is_not_late_however_long_it_rests(daemon: Daemon) -> None:
    daemon.pulse.expect("the fetch", -100)
    daemon.pulse.rest("the fetch")
    assert daemon.vitals.live().ok
    daemon.pulse.expect("the renewal of the lease", -100)
    daemon.pulse.rest_all()
    assert daemon.vitals.live().ok


async def test_a_wait_for_redis_is_live_and_not_ready(daemon: Daemon) -> None:
    daemon.pulse.connected, daemon.pulse.trouble = False, "connection refused"
    daemon.pulse.expect("the next attempt to connect", 0.5)
    assert daemon.vitals.live().ok
    assert daemon.vitals.ready().reasons == ["Redis: connection refused"]
    assert daemon.vitals.status_line().endswith(", connection refused")


async def test_a_reconnect_that_is_not_tried_any_more_is_a_stuck_loop(daemon: Daemon) -> None:
    daemon.pulse.connected = False
    daemon.pulse.expect("the next attempt to connect", -1 - LOOP_BOUND_S)
    assert not daemon.vitals.live().ok


@pytest.mark.parametrize("state", [State.BOOTING, State.DRAINING, State.STOPPED])
async def test_only_a_running_daemon_is_ready(daemon: Daemon, state: State) -> None:
    daemon.vitals.state = state
    assert daemon.vitals.ready().reasons == [f"the daemon is {state}"]
    assert daemon.vitals.live().ok
    assert daemon.vitals.status_line().startswith(state)


async def test_before_the_first_fetch_came_back_it_is_not_ready(daemon: Daemon) -> None:
    daemon.pulse.consuming = False
    assert daemon.vitals.ready().reasons == ["Redis: no fetch has come back yet"]


async def test_a_missing_worker_is_named_with_its_cause(daemon: Daemon) -> None:
    daemon.slots[0].ready = False
    assert daemon.vitals.ready().reasons == ["1 of 2 workers are ready"]
    daemon.boots.last_error = RuntimeError("no database")
    assert daemon.vitals.ready().reasons == ["1 of 2 workers are ready: no database"]
    daemon.boots.degraded = True
    assert daemon.vitals.ready().reasons == ["1 of 2 workers are ready: no database, again and again"]
    assert daemon.vitals.live().ok


async def test_outcomes_that_redis_refuses_are_told(daemon: Daemon) -> None:
    daemon.settler.held = 7
    assert "refuses to record 7 outcomes" in daemon.vitals.ready().reasons[0]


async def test_the_details_are_figures_from_memory(daemon: Daemon) -> None:
    details = daemon.vitals.ready().details
    assert details["workers_ready"] == 2
    assert (details["jobs_in_hand"], details["unsettled"], details["ended"]) == (3, 4, 5)
    assert (details["crashes"], details["dead_letters"], details["lost_replies"]) == (1, 2, 6)


async def test_a_change_ends_the_wait_early(daemon: Daemon) -> None:
    start = time.monotonic()
    asyncio.get_running_loop().call_later(0.02, daemon.dispatcher.state_changed.set)
    await daemon.vitals.wait_change(5)
    assert time.monotonic() - start < 4
    await daemon.vitals.wait_change(0.01)
