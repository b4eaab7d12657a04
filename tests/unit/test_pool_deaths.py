import os
import signal

import pytest

from workd.pool.deaths import Crashed, Killed, KillOrder, OverMemory, TimedOut, WorkerDied, cause, read_status

DIED = WorkerDied(12, 0, status_known=True, exit_code=3, signal=None, peak_rss_bytes=50 * 2**20, ran_s=1.25)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, (None, None)),
        (0, (0, None)),
        (3 << 8, (3, None)),
        (signal.SIGKILL, (None, "SIGKILL")),
        (signal.SIGSEGV | 0x80, (None, "SIGSEGV")),  # with a core dump
        (40, (None, "signal 40")),  # a real-time signal has no name
    ],
)
def test_a_wait_status_is_an_exit_code_or_a_signal(status: int | None, expected: tuple[object, object]) -> None:
    assert read_status(status) == expected


@pytest.mark.parametrize("code", [0, 1, 255])
def test_the_status_of_a_real_process_is_read(code: int) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    assert read_status(os.waitpid(pid, 0)[1]) == (code, None)


def test_a_death_is_described_for_people() -> None:
    assert DIED.describe() == "with pid 12 in slot 0 exited with code 3 after 1.2 s in this job, peak memory 50 MiB"
    by_signal = WorkerDied(12, 0, True, None, "SIGKILL", None, 0.04, "it said nonsense")
    assert (
        by_signal.describe() == "with pid 12 in slot 0 was killed by SIGKILL (it said nonsense) after 0.0 s in this job"
    )
    idle = WorkerDied(12, 0, True, None, "SIGKILL", None, None)
    assert idle.describe() == "with pid 12 in slot 0 was killed by SIGKILL"
    unknown = WorkerDied(12, 0, False, None, None, None, 0.0)
    assert "its exit status is unknown, since its forkserver could not be asked" in unknown.describe()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, Crashed(DIED)),
        (KillOrder(7, 30.0, "its time was over"), TimedOut(30.0, DIED)),
        (KillOrder(6, 30.0, "its time was over"), Killed("its time was over", DIED)),  # meant for the job before
        (KillOrder(7, None, "memory", (10, 20)), OverMemory(10, 20, DIED)),
        (KillOrder(6, None, "memory", (10, 20)), Killed("memory", DIED)),
        (KillOrder(7, None, "cancelled"), Killed("cancelled", DIED)),
        (KillOrder(None, None, "stop"), Killed("stop", DIED)),
    ],
)
def test_why_a_job_was_lost_depends_on_who_killed_its_worker_and_for_which_job(
    order: KillOrder | None, expected: Crashed | TimedOut | OverMemory | Killed
) -> None:
    assert cause(order, 7, DIED) == expected
