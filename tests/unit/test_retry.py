import pytest
from hypothesis import given
from hypothesis import strategies as st

from workd import retry
from workd.retry import Counters, Policy, backoff_s, decide
from workd.wire import DeadReason, ErrorInfo

ERROR = ErrorInfo(type="ValueError", message="no")
COUNTS = st.integers(0, 10_000)
COUNTERS = st.builds(Counters, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
DICE = st.floats(0, 1, exclude_max=True)
EVENTS = st.one_of(
    st.builds(retry.Returned, st.binary()),
    st.builds(retry.Raised, st.just(ERROR), st.booleans(), st.none() | st.floats(0, 1e6)),
    st.just(retry.TimeOver(ERROR)),
    st.just(retry.WorkerCrashed(ERROR)),
    st.just(retry.Suspected()),
    st.just(retry.TakenOver()),
    st.builds(retry.TaskUnknown, st.just(ERROR), st.floats(1, 2e9)),
    st.builds(retry.Refused, st.sampled_from(DeadReason), st.just(ERROR), st.booleans()),
    st.builds(retry.CutShort, st.booleans()),
)
POLICIES = st.builds(Policy, COUNTS, st.floats(0, 1e4), st.floats(0, 1e6), st.integers(1, 10), st.integers(0, 10))


# ── counters ──


@given(COUNTERS)
def test_counters_are_read_as_they_were_written(counters: Counters) -> None:
    assert Counters.decode(counters.encode()) == counters


def test_counters_without_an_unknown_task_are_four_numbers() -> None:
    assert Counters(1, 2, 3, 4).encode() == b"1 2 3 4"
    assert Counters(1, 2, 3, 4, 5).encode() == b"1 2 3 4 5"
    assert Counters(1, 2, 3, 4, suspicions=6).encode() == b"1 2 3 4 0 6"


@pytest.mark.parametrize("text", [b"", b"1", b"1 2 3", b"a b c d", b"1 2 3 -4", b"1.0 2 3 4", b"\xff"])
def test_what_is_not_counters_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"counters|invalid"):
        Counters.decode(text)


def test_counters_of_a_newer_daemon_are_read_as_far_as_they_are_known() -> None:
    assert Counters.decode(b"1 2 3 4 5 6 7 8") == Counters(1, 2, 3, 4, 5, 6)


@given(COUNTERS)
def test_runs_are_all_that_were_started(counters: Counters) -> None:
    cut_short = counters.crashes + counters.takeovers + counters.handbacks + counters.suspicions
    assert counters.runs == counters.attempts + cut_short


# ── decisions ──


@given(COUNTERS, POLICIES, EVENTS, DICE)
def test_at_most_one_counter_moves_by_one_and_none_goes_back(
    counters: Counters, policy: Policy, event: retry.Event, dice: float
) -> None:
    decision = decide(counters, policy, event, dice)
    if isinstance(decision, retry.GoOn):
        return
    assert 0 <= decision.counters.runs - counters.runs <= 1
    for name in ("attempts", "crashes", "takeovers", "handbacks", "suspicions"):
        assert getattr(decision.counters, name) >= getattr(counters, name)


def test_a_return_is_an_attempt_and_the_end() -> None:
    decision = decide(Counters(attempts=2), Policy(), retry.Returned(b"16"), 0.5)
    assert decision == retry.Succeed(Counters(attempts=3), b"16")


@given(COUNTERS, POLICIES, DICE)
def test_failures_are_repeated_max_retries_times(counters: Counters, policy: Policy, dice: float) -> None:
    for event, reason in ((retry.Raised(ERROR), DeadReason.FAILED), (retry.TimeOver(ERROR), DeadReason.TIMEOUT)):
        decision = decide(counters, policy, event, dice)
        after = counters._replace(attempts=counters.attempts + 1)
        if counters.attempts < policy.max_retries:
            assert isinstance(decision, retry.Again)
            assert decision.counters == after
        else:
            assert decision == retry.Die(after, reason, ERROR)


def test_a_failure_that_no_run_can_mend_is_not_repeated() -> None:
    decision = decide(Counters(), Policy(max_retries=5), retry.Raised(ERROR, retry=False), 0.5)
    assert decision == retry.Die(Counters(attempts=1), DeadReason.FAILED, ERROR)


def test_a_tasks_own_wish_replaces_the_backoff_but_not_the_limit() -> None:
    event = retry.Raised(ERROR, after_s=7.5)
    assert decide(Counters(), Policy(max_retries=1), event, 0.5) == retry.Again(Counters(attempts=1), 7.5, ERROR)
    assert isinstance(decide(Counters(attempts=1), Policy(max_retries=1), event, 0.5), retry.Die)


@pytest.mark.parametrize(("wish", "delay_s"), [(1e306, retry.MAX_DELAY_S), (-5.0, 0.0)])
def test_a_tasks_wish_is_kept_within_what_a_due_time_can_hold(wish: float, delay_s: float) -> None:
    decision = decide(Counters(), Policy(max_retries=1), retry.Raised(ERROR, after_s=wish), 0.5)
    assert isinstance(decision, retry.Again)
    assert decision.delay_s == delay_s


@given(st.integers(1, 10), COUNTS)
def test_the_last_allowed_crash_is_dead_whatever_max_retries_says(max_crashes: int, max_retries: int) -> None:
    policy, counters, runs = Policy(max_retries, max_crashes=max_crashes), Counters(), 0
    while isinstance(decision := decide(counters, policy, retry.WorkerCrashed(ERROR), 0.5), retry.Again):
        assert decision.delay_s == 0
        counters, runs = decision.counters, runs + 1
    assert decision == retry.Die(Counters(crashes=max_crashes), DeadReason.CRASHED, ERROR)
    assert runs == max_crashes - 1


def test_crashes_and_attempts_are_counted_apart() -> None:
    policy = Policy(max_retries=1, max_crashes=2)
    assert isinstance(decide(Counters(crashes=1), policy, retry.Raised(ERROR), 0.5), retry.Again)
    assert isinstance(decide(Counters(attempts=1), policy, retry.WorkerCrashed(ERROR), 0.5), retry.Again)


@given(st.integers(0, 20), st.integers(0, 20))
def test_takeovers_have_a_limit_of_their_own(takeovers: int, max_takeovers: int) -> None:
    decision = decide(Counters(takeovers=takeovers), Policy(max_takeovers=max_takeovers), retry.TakenOver(), 0.5)
    if takeovers <= max_takeovers:
        assert decision == retry.GoOn()
    else:
        assert isinstance(decision, retry.Die)
        assert decision.reason is DeadReason.CRASHED
        assert f"max_takeovers is {max_takeovers}" in decision.error.message


@pytest.mark.parametrize(("started", "handbacks"), [(True, 1), (False, 0)])
def test_what_was_cut_short_goes_back_at_once_and_only_a_started_run_is_counted(started: bool, handbacks: int) -> None:
    assert decide(Counters(), Policy(), retry.CutShort(started), 0.5) == retry.Again(Counters(handbacks=handbacks), 0.0)


@pytest.mark.parametrize(("ran", "attempts"), [(False, 0), (True, 1)])
def test_what_can_never_succeed_is_dead_at_once_and_an_attempt_if_it_ran(ran: bool, attempts: int) -> None:
    decision = decide(Counters(), Policy(max_retries=9), retry.Refused(DeadReason.REJECTED, ERROR, ran), 0.5)
    assert decision == retry.Die(Counters(attempts=attempts), DeadReason.REJECTED, ERROR)


@given(st.floats(0, 600), st.floats(1e9, 2e9))
def test_an_unknown_task_is_looked_at_again_until_its_time_is_over(unknown_task_s: float, now_s: float) -> None:
    policy, counters, looks, start_s = Policy(unknown_task_s=unknown_task_s), Counters(), 0, now_s
    while isinstance(decision := decide(counters, policy, retry.TaskUnknown(ERROR, now_s), 0.5), retry.Again):
        assert decision.counters.runs == 0
        counters, looks, now_s = decision.counters, looks + 1, now_s + decision.delay_s
        assert looks <= 1300
    assert isinstance(decision, retry.Die)
    assert decision.reason is DeadReason.UNKNOWN_TASK
    assert unknown_task_s - 1 <= now_s - start_s <= unknown_task_s + 1


# ── backoff ──


@given(POLICIES, st.integers(1, 10**9), DICE)
def test_a_backoff_stays_within_its_bounds(policy: Policy, attempts: int, dice: float) -> None:
    wait_s = backoff_s(policy, attempts, dice)
    assert 0 <= wait_s <= policy.max_backoff_s
    assert wait_s <= policy.backoff_s * 2.0 ** min(attempts - 1, 63)


def test_backoffs_double_up_to_the_cap() -> None:
    policy = Policy(backoff_s=2.0, max_backoff_s=60.0)
    assert [backoff_s(policy, attempts, 0.5) for attempts in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_backoffs_are_spread_over_the_whole_range() -> None:
    policy = Policy(backoff_s=8.0)
    assert [backoff_s(policy, 1, dice) for dice in (0.0, 0.25, 0.75)] == [0, 2, 6]


def test_without_jitter_the_wait_is_the_whole_backoff() -> None:
    policy = Policy(backoff_s=2.0, max_backoff_s=5.0, jitter=False)
    assert [backoff_s(policy, attempts, 0.1) for attempts in (1, 2, 3)] == [2.0, 4.0, 5.0]
    assert backoff_s(Policy(backoff_s=2.0), 1, 0.1) == pytest.approx(0.2)


def test_a_soft_timeout_that_is_retried_no_more_is_dead_by_timeout() -> None:
    decision = decide(Counters(), Policy(), retry.Raised(ERROR, reason=DeadReason.TIMEOUT), 0.5)
    assert isinstance(decision, retry.Die)
    assert decision.reason is DeadReason.TIMEOUT


def test_a_death_that_was_shared_is_charged_to_nobody_and_makes_each_a_suspect() -> None:
    decision = decide(Counters(), Policy(max_crashes=1, max_retries=0), retry.Suspected(), 0.5)
    assert decision == retry.Again(Counters(suspicions=1), 0.0)
    assert decision.counters.is_suspect
    again = decide(decision.counters, Policy(max_crashes=1), retry.WorkerCrashed(ERROR), 0.5)
    assert again == retry.Die(Counters(crashes=1, suspicions=1), DeadReason.CRASHED, ERROR)


@pytest.mark.parametrize(
    ("counters", "is_suspect"),
    [
        (Counters(attempts=5, handbacks=5, unknown_since_ms=5), False),
        (Counters(crashes=1), True),
        (Counters(takeovers=1), True),
        (Counters(suspicions=1), True),
    ],
)
def test_who_was_there_when_something_died_is_a_suspect(counters: Counters, is_suspect: bool) -> None:
    assert counters.is_suspect is is_suspect
