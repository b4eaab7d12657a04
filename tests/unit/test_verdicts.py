import json
from typing import Any

import pytest

from support.flying import entry, flight
from workd import retry
from workd.broker.ops import Bury, Finish, Readd
from workd.flights import Flight
from workd.pool import frames
from workd.pool.deaths import Crashed, Killed, TimedOut, WorkerDied
from workd.pool.parsing import Frame, FrameError
from workd.retry import Counters
from workd.verdicts import Clerk, Times, event_of_frame, event_of_loss
from workd.wire import DeadReason, ErrorInfo

ERROR: dict[str, Any] = {"type": "ValueError", "message": "no", "traceback": "Traceback …", "cause": None}
INFO = ErrorInfo(**ERROR)
DIED = WorkerDied(12, 0, status_known=True, exit_code=None, signal="SIGKILL", peak_rss_bytes=None, ran_s=1.0)
TIMES = Times(50.0, 60.0)


def frame(kind: int, payload: dict[str, Any] | bytes) -> Frame:
    return Frame(kind, 1, 50.0, 60.0, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


@pytest.fixture
def clerk() -> Clerk:
    return Clerk("host:1:abc", wall=lambda: 100.0, dice=lambda: 0.5)


def outcome_of(settlement: object) -> dict[str, Any]:
    assert isinstance(settlement, Finish | Bury)
    assert settlement.outcome is not None
    outcome: dict[str, Any] = json.loads(settlement.outcome)
    return outcome


# ── events ──


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (frame(frames.RETURNED, b"16"), retry.Returned(b"16")),
        (frame(frames.RAISED, ERROR), retry.Raised(INFO)),
        (frame(frames.RAISED, ERROR | {"retry": False, "after_s": None}), retry.Raised(INFO, retry=False)),
        (frame(frames.RAISED, ERROR | {"retry": True, "after_s": 7.5}), retry.Raised(INFO, after_s=7.5)),
        (frame(frames.RAISED, ERROR | {"timed_out": True}), retry.Raised(INFO, reason=DeadReason.TIMEOUT)),
        (frame(frames.UNKNOWN_TASK, ERROR), retry.TaskUnknown(INFO, 100.0)),
        (frame(frames.INVALID, ERROR), retry.Refused(DeadReason.INVALID, INFO, ran=False)),
        (frame(frames.REJECTED, ERROR), retry.Refused(DeadReason.REJECTED, INFO, ran=True)),
        (frame(frames.TOO_LARGE, ERROR), retry.Refused(DeadReason.TOO_LARGE, INFO, ran=True)),
    ],
)
def test_each_kind_of_frame_is_an_event(told: Frame, event: retry.Event) -> None:
    assert event_of_frame(told, 100.0) == event


@pytest.mark.parametrize("kind", sorted(frames.KINDS - {frames.RETURNED}))
@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"{}", b'{"type":1,"message":2}', b"\xff\xfe"])
def test_a_payload_that_makes_no_sense_condemns_the_worker(kind: int, payload: bytes) -> None:
    with pytest.raises(FrameError, match="can't be read"):
        event_of_frame(frame(kind, payload), 100.0)


@pytest.mark.parametrize("wish", [{"after_s": "soon"}, {"after_s": -1}, {"after_s": 1e999}, {"retry": "perhaps"}])
def test_so_does_a_wish_that_no_worker_has(wish: dict[str, Any]) -> None:
    with pytest.raises(FrameError, match=next(iter(wish))):
        event_of_frame(frame(frames.RAISED, ERROR | wish), 100.0)


def test_deaths_are_events() -> None:
    crash = event_of_loss(Crashed(DIED))
    assert isinstance(crash, retry.WorkerCrashed)
    assert "was killed by SIGKILL" in crash.error.message
    over = event_of_loss(TimedOut(30.0, DIED))
    assert isinstance(over, retry.TimeOver)
    assert "timeout of 30 s" in over.error.message
    assert event_of_loss(Killed("drain", DIED)) == retry.CutShort(started=True)


# ── settlements ──


def test_a_value_that_nobody_asked_for_is_not_kept(clerk: Clerk) -> None:
    settlement = clerk.write(flight(), retry.Succeed(Counters(attempts=1), b"16"), TIMES)
    assert settlement == Finish("1000-0", "1000-0", None)


def test_a_value_that_was_asked_for_is_the_outcome(clerk: Clerk) -> None:
    job = flight(id="order-7", result_ttl=60, unique="u", reply_to="me")
    settlement = clerk.write(job, retry.Succeed(Counters(attempts=2, crashes=1), b'{"a":[1]}'), TIMES)
    assert isinstance(settlement, Finish)
    assert (settlement.job_id, settlement.result_ttl_s, settlement.reply_to) == ("order-7", 60, "me")
    assert (settlement.has_producer_id, settlement.unique, settlement.duplicate) == (True, "u", False)
    outcome = outcome_of(settlement)
    assert outcome == {
        "v": 1,
        "id": "order-7",
        "task": "square",
        "status": "succeeded",
        "value": {"a": [1]},
        "error": None,
        "attempts": 2,
        "deliveries": 3,
        "enqueued_at": 1.0,
        "started_at": 50.0,
        "ended_at": 60.0,
        "daemon": "host:1:abc",
    }


def test_a_reply_alone_is_reason_enough_for_an_outcome(clerk: Clerk) -> None:
    outcome = outcome_of(clerk.write(flight(reply_to="me"), retry.Succeed(Counters(attempts=1), b"1"), TIMES))
    assert outcome["value"] == 1


def test_a_dead_job_is_buried_with_its_message_and_its_reason(clerk: Clerk) -> None:
    settlement = clerk.write(flight(result_ttl=5), retry.Die(Counters(2, 1), DeadReason.FAILED, INFO), TIMES)
    assert isinstance(settlement, Bury)
    assert settlement.message == b'{"task":"square"}'
    assert (settlement.reason, settlement.task, settlement.attempts, settlement.deliveries) == (
        "failed",
        "square",
        2,
        3,
    )
    assert json.loads(settlement.error) == ERROR
    assert outcome_of(settlement)["status"] == "dead"
    assert outcome_of(settlement)["error"] == ERROR


def test_an_entry_without_a_message_is_buried_with_its_fields(clerk: Clerk) -> None:
    stray = Flight(entry(message=None, fields={b"x": b"y"}), "1000-0")
    settlement = clerk.write(stray, retry.Die(Counters(), DeadReason.INVALID, INFO), Times())
    assert isinstance(settlement, Bury)
    assert (settlement.message, settlement.entry_fields, settlement.task) == (b"", b'{"x": "y"}', "")


@pytest.mark.parametrize(("delay_s", "due_ms"), [(0.0, None), (2.5, 102_500)])
def test_a_job_that_runs_again_goes_back_at_once_or_is_scheduled(
    clerk: Clerk, delay_s: float, due_ms: int | None
) -> None:
    job = flight(id="order-7", unique="u")
    settlement = clerk.write(job, retry.Again(Counters(attempts=1), delay_s), TIMES)
    assert settlement == Readd(
        "1000-0", "order-7", b'{"task":"square"}', Counters(attempts=1), 1000, None, True, "u", due_ms
    )


def test_a_job_that_goes_on_has_nothing_to_settle(clerk: Clerk) -> None:
    with pytest.raises(ValueError, match="nothing to settle"):
        clerk.write(flight(), retry.GoOn(), TIMES)


def test_a_duplicate_leaves_the_first_ones_traces_alone(clerk: Clerk) -> None:
    settlement = clerk.duplicate(flight(id="order-7", result_ttl=60))
    assert isinstance(settlement, Finish)
    assert settlement.duplicate
    outcome = outcome_of(settlement)
    assert (outcome["status"], outcome["error"]["type"]) == ("cancelled", "duplicate")
    assert (outcome["started_at"], outcome["ended_at"]) == (None, 100.0)


def test_an_expired_job_says_so(clerk: Clerk) -> None:
    outcome = outcome_of(clerk.expired(flight(result_ttl=60)))
    assert outcome["status"] == "expired"
    assert "expires_at" in outcome["error"]["message"]


def test_the_rules_are_applied_with_the_jobs_own_policy_and_the_dice(clerk: Clerk) -> None:
    job = flight()
    job.policy = retry.Policy(max_retries=1, backoff_s=8.0)
    decision = clerk.decide(job, retry.Raised(INFO))
    assert decision == retry.Again(Counters(attempts=1), 4.0, INFO)
    job.policy = None
    assert isinstance(clerk.decide(job, retry.Raised(INFO)), retry.Die)


def test_a_job_that_was_cancelled_while_it_ran_counts_that_run(clerk: Clerk) -> None:
    outcome = outcome_of(clerk.cancelled(flight(result_ttl=60), "cancelled while it was running", run=TIMES))
    assert (outcome["status"], outcome["error"]["type"]) == ("cancelled", "cancelled")
    assert (outcome["attempts"], outcome["deliveries"]) == (0, 1)
    assert outcome["started_at"] == TIMES.started_at


def test_a_job_that_this_daemon_cannot_handle_is_a_dead_letter_that_asks_for_a_report(clerk: Clerk) -> None:
    settlement = clerk.broken(flight(), OverflowError("too large"))
    assert isinstance(settlement, Bury)
    assert settlement.reason == "failed"
    assert b"OverflowError: too large" in settlement.error
