from __future__ import annotations

from typing import Any

import pytest

from workd.broker.entries import Entry
from workd.broker.ops import Bury, Finish, Readd
from workd.clock import Clock
from workd.flights import Flight
from workd.pool.deaths import Crashed, Killed, OverMemory, Suspected, TimedOut, WorkerDied
from workd.retry import Counters
from workd.tallies import BATCHES, MAX_TASKS, OTHER, SPANS_S, Histogram, Tallies, cause_of
from workd.verdicts import Times
from workd.wire import Envelope, Status

NOW_S = 1_700_000_000.0
NEW = Counters()


def died(**fields: Any) -> WorkerDied:
    facts: dict[str, Any] = {"exit_code": None, "signal": "SIGKILL", "peak_rss_bytes": 1, "ran_s": 1.0} | fields
    return WorkerDied(**({"pid": 1, "slot": 0, "status_known": True} | facts))


def flight(
    task: str | None = "square",
    *,
    settlement: object = None,
    run: Times | None = None,
    waited_s: float = 0.0,
    counters: Counters = NEW,
    first_enqueued_s: float | None = None,
) -> Flight:
    """A job that came into the stream `waited_s` before `NOW_S`; `first_enqueued_s`: it was put back there."""
    ms = int((NOW_S - waited_s) * 1000)
    job_id = None if first_enqueued_s is None else "name"
    first_ms = ms if first_enqueued_s is None else int(first_enqueued_s * 1000)
    entry = Entry("default", f"{ms}-0", b"{}", None, job_id, counters, first_ms, None)
    envelope = Envelope(task=task) if task is not None else None
    made = Flight(entry, "id", envelope, run=run)
    made.settlement = settlement if settlement is not None else Finish(entry.entry_id, "id", None, 0.0)  # type: ignore[assignment]
    return made


def buried(reason: str) -> Bury:
    return Bury("1-0", "id", None, 0.0, None, False, None, b"{}", None, reason, b"{}", "square", 1, 1, None)


def readded(counters: Counters, due_ms: int | None = None) -> Readd:
    return Readd("1-0", "id", b"{}", counters, 0, due_ms=due_ms)


@pytest.fixture
def tallies() -> Tallies:
    tallies = Tallies(["default", "images"], Clock())
    tallies.know(["square", "resize"])
    return tallies


def counts_of(histogram: Histogram) -> dict[float, int]:
    """Return the bounds under which something fell; infinity is what is above the last."""
    bounds = (*histogram.bounds, float("inf"))
    return {bound: count for bound, count in zip(bounds, histogram.counts, strict=True) if count}


def test_a_value_is_counted_below_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    for value in (0.0, 1.0, 1.5, 5.0, 5.1, 1e9):
        histogram.note(value)
    assert histogram.counts == [2, 1, 1, 2]
    assert histogram.total == pytest.approx(1e9 + 12.6)


def test_buckets_reach_from_a_millisecond_to_an_hour_in_order() -> None:
    assert (SPANS_S[0], SPANS_S[-1]) == (0.001, 3600.0)
    assert list(SPANS_S) == sorted(set(SPANS_S))


def test_a_settled_job_counts_with_its_wait_and_its_run(tallies: Tallies) -> None:
    tallies.settled([flight(run=Times(NOW_S + 2.0, NOW_S + 2.2), waited_s=40.0)])
    square = tallies.by_task["square"]
    assert square.ended == {Status.SUCCEEDED: 1, Status.DEAD: 0, Status.CANCELLED: 0, Status.EXPIRED: 0}
    assert counts_of(square.runs) == {0.25: 1}
    assert counts_of(square.waits) == {60.0: 1}
    assert square.runs.total == pytest.approx(0.2)
    assert square.waits.total == pytest.approx(42.0)
    assert sum(tallies.other.ended.values()) == 0


def test_waits_are_by_the_servers_clock_and_never_below_zero(tallies: Tallies) -> None:
    tallies._clock.offset_s = -1.5
    tallies.settled([flight(run=Times(NOW_S + 2.0, NOW_S + 2.0)), flight(run=Times(NOW_S, NOW_S))])
    assert tallies.by_task["square"].waits.total == pytest.approx(0.5)


def test_a_job_that_was_put_back_waits_from_its_return_and_not_from_its_first_enqueue(tallies: Tallies) -> None:
    again = flight(run=Times(NOW_S + 3.0, NOW_S + 4.0), first_enqueued_s=NOW_S - 7200)
    tallies.settled([again])
    assert tallies.by_task["square"].waits.total == pytest.approx(3.0)


def test_what_never_ran_has_no_times(tallies: Tallies) -> None:
    expired = flight()
    expired.status = Status.EXPIRED
    tallies.settled([expired])
    square = tallies.by_task["square"]
    assert square.ended[Status.EXPIRED] == 1
    assert not any(square.runs.counts)
    assert not any(square.waits.counts)


def test_names_that_nobody_knows_share_a_label(tallies: Tallies) -> None:
    tallies.settled([flight("evil-1"), flight("evil-2"), flight(None, settlement=buried("invalid"))])
    tallies.lost("evil-3", Crashed(died()))
    assert set(tallies.by_task) == {OTHER, "square", "resize"}
    assert (tallies.other.ended[Status.SUCCEEDED], tallies.other.ended[Status.DEAD]) == (2, 1)
    assert tallies.other.crashes["signal"] == 1


def test_reloads_with_ever_new_tasks_end_in_the_shared_label() -> None:
    tallies = Tallies(["default"], Clock())
    for reload in range(3):
        tallies.know(f"task-{reload}-{number}" for number in range(MAX_TASKS))
    assert len(tallies.by_task) <= MAX_TASKS + 1
    tallies.settled([flight("task-0-0"), flight("task-2-5")])
    assert tallies.by_task["task-0-0"].ended[Status.SUCCEEDED] == 1
    assert tallies.other.ended[Status.SUCCEEDED] == 1


def test_a_reload_keeps_what_was_counted(tallies: Tallies) -> None:
    tallies.settled([flight()])
    tallies.know(["square", "new"])
    assert tallies.by_task["square"].ended[Status.SUCCEEDED] == 1
    assert "new" in tallies.by_task


def test_dead_letters_count_by_reason_and_queue(tallies: Tallies) -> None:
    tallies.settled([flight(settlement=buried("failed")), flight(settlement=buried("timeout"))])
    dead = tallies.by_queue["default"].dead
    assert {reason: count for reason, count in dead.items() if count} == {"failed": 1, "timeout": 1}
    assert not any(tallies.by_queue["images"].dead.values())
    assert tallies.by_task["square"].ended[Status.DEAD] == 2


@pytest.mark.parametrize(
    ("before", "after", "due_ms", "told"),
    [
        (NEW, Counters(attempts=1), 5, "retry"),
        (Counters(attempts=1), Counters(attempts=2), None, "retry"),
        (NEW, Counters(crashes=1), None, "retry"),
        (NEW, NEW, None, "handback"),
        (NEW, Counters(handbacks=1), None, "handback"),
        (NEW, NEW, 5, ""),  # it came for later
        (NEW, Counters(unknown_since_ms=1), 5, ""),
    ],
)
def test_what_goes_back_is_a_retry_a_hand_back_or_none_of_both(
    tallies: Tallies, before: Counters, after: Counters, due_ms: int | None, told: str
) -> None:
    tallies.settled([flight(settlement=readded(after, due_ms), counters=before)])
    square, queue = tallies.by_task["square"], tallies.by_queue["default"]
    assert (square.retries, queue.handbacks) == (told == "retry", told == "handback")
    assert sum(square.ended.values()) == 0


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        (Crashed(died()), "signal"),
        (Crashed(died(oom=True)), "oom"),
        (Crashed(died(oom=None)), "signal"),
        (Crashed(died(signal=None, exit_code=3)), "exit"),
        (Crashed(died(signal=None, status_known=False)), "unknown"),
        (Suspected(2, died(signal="SIGSEGV")), "signal"),
        (TimedOut(5.0, died()), "timeout"),
        (OverMemory(1, 2, died()), "memory_limit"),
        (Killed("a drain", died()), None),
    ],
)
def test_each_death_has_a_cause_but_those_that_the_daemon_wanted(tallies: Tallies, how: Any, cause: str | None) -> None:
    assert cause_of(how) == cause
    tallies.lost("square", how)
    counted = {name: count for name, count in tallies.by_task["square"].crashes.items() if count}
    assert counted == ({} if cause is None else {cause: 1})


def test_a_death_under_several_jobs_is_one_for_each_of_their_tasks(tallies: Tallies) -> None:
    tallies.know(["resize"])
    for worker in (died(), died()):
        for task in ("square", "resize", "square", "square", "resize"):
            tallies.lost(task, Suspected(4, worker))
    assert [tallies.by_task[task].crashes["signal"] for task in ("square", "resize")] == [2, 2]
    alone = died()
    for _ in range(2):
        tallies.lost("square", Crashed(alone))
    assert tallies.by_task["square"].crashes["signal"] == 4


def test_deliveries_count_by_queue(tallies: Tallies) -> None:
    entries = [flight().entry, flight().entry._replace(queue="images"), flight().entry]
    tallies.fetched(entries)
    assert {queue: tally.deliveries for queue, tally in tallies.by_queue.items()} == {"default": 2, "images": 1}
    alone = Tallies(["default"], Clock())
    alone.fetched(entries[:1])
    assert alone.by_queue["default"].deliveries == 1


def test_batches_count_by_size(tallies: Tallies) -> None:
    tallies.settled([flight() for _ in range(7)])
    assert counts_of(tallies.batches) == {10.0: 1}
    assert BATCHES[-1] == 500


def test_the_time_without_room_grows_while_it_lasts(tallies: Tallies) -> None:
    assert tallies.full_s(10.0) == 0.0
    tallies.wait_for_room(10.0)
    assert tallies.full_s(12.0) == 2.0
    tallies.go_on(13.0)
    assert tallies.full_s(99.0) == 3.0


def test_of_several_fetchers_without_room_the_time_counts_once(tallies: Tallies) -> None:
    tallies.wait_for_room(10.0)
    tallies.wait_for_room(11.0)
    tallies.go_on(12.0)
    assert tallies.full_s(13.0) == 3.0
    tallies.go_on(14.0)
    assert tallies.full_s(20.0) == 4.0
