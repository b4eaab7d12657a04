import pickle

import pytest

from workd import errors
from workd.pool.deaths import WorkerDied
from workd.wire import ErrorInfo, Outcome, Status


def outcome(status: Status = Status.DEAD, error: ErrorInfo | None = None) -> Outcome:
    return Outcome(
        id="1-0",
        task="square",
        status=status,
        error=error,
        attempts=1,
        deliveries=1,
        enqueued_at=1.0,
        ended_at=2.0,
        daemon="d",
    )


DIED = WorkerDied(
    42, 1, True, None, "SIGKILL", 2**30, 1.5, oom=True, stacks='Thread 0x1:\n  File "app.py", line 3 in work'
)

SAMPLES = [
    errors.SettingsError("lease_s", "must be above 0"),
    errors.InvalidMessageError(["task: Field required", "id: too long"]),
    errors.UnknownVersionError(2),
    errors.BrokerUnavailableError("no answer from redis://h:1"),
    errors.WrongKeyTypeError("workd:{q}:dead", "stream"),
    errors.FencedError("lease gone"),
    errors.BootError("app.tasks", "No module named 'app'", "Traceback …"),
    errors.PoolClosedError("closed"),
    errors.WorkerDiedError("1-0", DIED),
    errors.JobTimeoutError("1-0", 1.5),
    errors.JobTimeoutError("1-0", 1.5, DIED),
    errors.MemoryLimitError("1-0", 2**20, 2**21, DIED),
    errors.CallCancelledError("cancelled"),
    errors.EnqueueTimeoutError("no answer"),
    errors.ServerUnavailableError("refused"),
    errors.ResultTimeoutError("1-0", 5),
    errors.ResultGoneError("1-0"),
    errors.JobFailedError(outcome(error=ErrorInfo(type="ValueError", message="no"))),
    errors.JobCancelledError(outcome(Status.CANCELLED)),
    errors.JobExpiredError(outcome(Status.EXPIRED)),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling_with_its_words_and_fields(error: errors.WorkdError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args, again.__dict__) == (str(error), error.args, error.__dict__)


def test_all_errors_have_one_base_and_are_in_the_drawing() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in kinds:
        assert issubclass(kind, errors.WorkdError)
        assert kind.__name__ in (errors.__doc__ or "")


def test_timeouts_are_timeout_errors() -> None:
    for kind in (errors.JobTimeoutError, errors.EnqueueTimeoutError, errors.ResultTimeoutError):
        assert issubclass(kind, TimeoutError)


def test_messages_say_what_happened_to_which_job() -> None:
    assert str(errors.WorkerDiedError("1-0", DIED)) == (
        "1-0: the worker with pid 42 in slot 1 was killed by SIGKILL (the kernel's OOM killer) after 1.5 s in this job,"
        " peak memory 1024 MiB; the machine or its cgroup ran out of memory: run fewer workers, or give such jobs a"
        ' memory limit\nIt was here:\nThread 0x1:\n  File "app.py", line 3 in work'
    )
    failed = errors.JobFailedError(outcome(error=ErrorInfo(type="ValueError", message="no")))
    assert str(failed) == "job 1-0 (square) failed: ValueError: no"
