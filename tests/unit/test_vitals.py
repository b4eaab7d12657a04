import asyncio
import math
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workd.pulse import Pulse, Pulses
from workd.states import State
from workd.vitals import LATELY_S, LOOP_BOUND_S, SETTLE_BOUND_S, Vitals


class Daemon:
    """Just what the vitals look at."""

    def __init__(self) -> None:
        self.slots = [a_slot(), a_slot()]
        self.boots = SimpleNamespace(last_error=None, degraded=False, stopping=False)
        self.pool: Any = SimpleNamespace(
            slots=self.slots,
            boots=self.boots,
            running=lambda: ["job"] * 3,
            watch=SimpleNamespace(due=math.inf),
            waiting=[],
            is_quiet=False,
            tenants=list,
        )
        self.settler = SimpleNamespace(held=0, unsettled=4, ended=5, lost_replies=6, batches=1)
        self.oldest_s: float | None = None
        self.room = 0
        self.dispatcher: Any = SimpleNamespace(
            settler=self.settler,
            books={"default": None},
            state_changed=asyncio.Event(),
            crashes=1,
            deaths=2,
            room=lambda: self.room,
            oldest_wait_s=lambda: self.oldest_s,
        )
        self.paused: set[str] = set()
        self.dispatcher.gate = SimpleNamespace(open_queues=lambda queues: [q for q in queues if q not in self.paused])
        self.dispatcher.is_choked = False
        self.pulse = Pulse(connected=True, consuming=True, trouble="")
        self.vitals = Vitals(cast("Any", self.pool), cast("Any", self.dispatcher), self.pulse)
        self.vitals.state = State.RUNNING


def a_slot() -> Any:
    return SimpleNamespace(ready=True, closing=False, tenant=None, making=True, index=0, boots=1)


@pytest.fixture
async def daemon() -> Daemon:
    return Daemon()


async def test_a_daemon_that_consumes_is_live_and_ready(daemon: Daemon) -> None:
    assert daemon.vitals.live().ok
    assert daemon.vitals.ready().ok
    assert daemon.vitals.status_line() == "consuming 1 queue, 2/2 workers, 0 jobs/s, 3 jobs in hand"


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


async def test_the_status_line_says_how_fast_it_goes_and_what_waits(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr(daemon.vitals, "_loop", SimpleNamespace(time=lambda: moment))
    for _ in range(6):
        daemon.vitals.sample()
        moment += 1
        daemon.settler.ended += 812
    daemon.oldest_s = 0.41
    assert daemon.vitals.status_line() == "consuming 1 queue, 2/2 workers, 812 jobs/s, oldest 0.4 s, 3 jobs in hand"


async def test_a_slot_that_ends_with_its_job_is_missed_by_nobody(daemon: Daemon) -> None:
    daemon.slots[0].closing = True
    daemon.slots[0].ready = False
    assert daemon.vitals.ready().ok
    assert ", 1/1 workers" in daemon.vitals.status_line()


async def test_a_quiet_daemon_is_live_and_not_ready(daemon: Daemon) -> None:
    daemon.vitals.state = State.QUIET
    assert daemon.vitals.live().ok
    (reason,) = daemon.vitals.ready().reasons
    assert "quiet" in reason
    assert daemon.vitals.status_line().startswith("quiet 1 queue")


async def test_a_reload_that_failed_is_in_the_status_line_and_the_daemon_is_ready(daemon: Daemon) -> None:
    daemon.vitals.reload_trouble = "no module named x"
    assert daemon.vitals.ready().ok
    assert daemon.vitals.status_line().endswith("the reload failed: no module named x")


# ── parts that stand still without any loop that is late ──


class HandClock:
    """Stands in for the loop of what looks at times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = asyncio.get_running_loop().time()
        fake = SimpleNamespace(time=lambda: self.now)
        monkeypatch.setattr("workd.pulse.asyncio", SimpleNamespace(get_running_loop=lambda: fake))
        monkeypatch.setattr("workd.pool.checkup.asyncio", SimpleNamespace(get_running_loop=lambda: fake))


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


async def test_a_fetcher_that_sleeps_though_there_is_room_is_stuck(daemon: Daemon, clock: HandClock) -> None:
    daemon.pulse.waits_for_room, daemon.room = True, 1
    assert daemon.vitals.live().ok
    clock.now += LOOP_BOUND_S + 1
    assert "the fetch, though there is room, is overdue by 6 s" in daemon.vitals.live().reasons
    daemon.room = 0
    assert daemon.vitals.live().ok, "it waits for the end of a job"


@pytest.mark.parametrize("state", [State.QUIET, State.DRAINING])
async def test_a_fetcher_that_has_nothing_to_fetch_may_sleep(daemon: Daemon, clock: HandClock, state: State) -> None:
    daemon.pulse.waits_for_room, daemon.room, daemon.vitals.state = True, 1, state
    daemon.settler.unsettled = 0
    assert daemon.vitals.live().ok
    clock.now += 100
    assert daemon.vitals.live().ok


async def test_ends_that_nobody_records_are_a_stuck_settler(daemon: Daemon, clock: HandClock) -> None:
    assert daemon.vitals.live().ok
    clock.now += SETTLE_BOUND_S + 1
    assert "the recording of what has ended" in daemon.vitals.live().reasons[0]
    daemon.settler.batches += 1
    assert daemon.vitals.live().ok, "it goes on"


async def test_ends_that_redis_refuses_or_that_wait_for_redis_are_no_stuck_settler(
    daemon: Daemon, clock: HandClock
) -> None:
    daemon.settler.held = daemon.settler.unsettled
    for connected in (True, False):
        daemon.pulse.connected = connected
        assert daemon.vitals.live().ok
        clock.now += SETTLE_BOUND_S + 1
        assert daemon.vitals.live().ok
        daemon.settler.held = 0


async def test_a_pool_that_does_not_look_at_its_timers_is_stuck(daemon: Daemon, clock: HandClock) -> None:
    daemon.pool.watch.due = clock.now
    clock.now += 1
    assert daemon.vitals.live().ok
    clock.now += LOOP_BOUND_S + 1
    assert "the pool's look at its timers" in daemon.vitals.live().reasons[0]
    daemon.pool.watch.due += 2
    assert daemon.vitals.live().ok, "another look is late, and was not before"


async def test_an_empty_slot_for_which_no_worker_is_made_is_a_stuck_pool(daemon: Daemon, clock: HandClock) -> None:
    assert daemon.vitals.live().ok
    daemon.slots[0].making = False
    assert daemon.vitals.live().ok
    clock.now += LOOP_BOUND_S + 1
    assert "an empty slot" in daemon.vitals.live().reasons[0]
    daemon.boots.stopping = True
    assert daemon.vitals.live().ok


async def test_the_details_are_figures_from_memory(daemon: Daemon) -> None:
    details = daemon.vitals.ready().details
    assert details["workers_ready"] == 2
    assert (details["jobs_in_hand"], details["unsettled"], details["ended"]) == (3, 4, 5)
    assert (details["crashes"], details["dead_letters"], details["lost_replies"]) == (1, 2, 6)


async def test_a_change_ends_the_wait_early(daemon: Daemon) -> None:
    start = time.monotonic()
    asyncio.get_running_loop().call_later(0.02, daemon.dispatcher.state_changed.set)
    await daemon.vitals.wait_change(20)
    assert time.monotonic() - start < 10
    await daemon.vitals.wait_change(0.01)


# ── whether it takes jobs ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_daemon_consumes_while_its_fetches_come_back(daemon: Daemon) -> None:
    now = asyncio.get_running_loop().time()
    daemon.pulse.fetched_at = now - LATELY_S + 5
    assert daemon.vitals.consuming().ok
    daemon.pulse.fetched_at = now - LATELY_S - 2
    assert daemon.vitals.consuming().reasons == ["Redis: no fetch has come back for 12 s"]


async def test_a_connection_over_which_nothing_was_fetched_is_not_consuming(daemon: Daemon) -> None:
    assert daemon.vitals.consuming().reasons == ["Redis: no fetch has come back yet"]
    daemon.pulse.fetched_at = asyncio.get_running_loop().time()
    assert daemon.vitals.consuming().ok
    daemon.pulse.rest_all()  # the session has broken
    assert not daemon.vitals.consuming().ok


async def test_a_daemon_that_has_all_it_can_work_on_is_consuming_however_long_that_takes(daemon: Daemon) -> None:
    daemon.pulse.fetched_at, daemon.pulse.waits_for_room = asyncio.get_running_loop().time() - 3600, True
    assert daemon.vitals.consuming().ok


async def test_a_daemon_that_takes_no_jobs_says_why(daemon: Daemon) -> None:
    daemon.pulse.fetched_at = asyncio.get_running_loop().time()
    daemon.paused = {"default"}
    assert daemon.vitals.consuming().reasons == ["all queues are paused: workd queues list says by whom"]
    daemon.dispatcher.is_choked = True
    daemon.vitals.state = State.DRAINING
    daemon.pulse.connected, daemon.pulse.trouble = False, "connection refused"
    assert daemon.vitals.consuming().reasons == [
        "the daemon is draining",
        "Redis: connection refused",
        "Redis does not take what has ended: 4 jobs are unrecorded",
    ]


async def test_of_several_consumers_the_longest_silence_counts() -> None:
    quick, slow = Pulse(fetched_at=90.0), Pulse(fetched_at=60.0)
    pulses = Pulses({"quick": quick, "slow": slow})
    assert pulses.silent_s(100.0) == 40.0
    slow.waits_for_room = True
    assert pulses.silent_s(100.0) == 10.0
    quick.failures, slow.failures = 1, 2
    assert pulses.failures == 3
