import threading

import pytest
import structlog

from workd_tasks import Context, NoContextError, context
from workd_tasks.context import running


def test_there_is_none_outside_of_a_task() -> None:
    with pytest.raises(NoContextError, match="only while workd runs a task"):
        context()


def test_it_is_there_for_the_run_and_gone_after() -> None:
    mine = Context("1-0", "square", attempt=2, delivery=3, daemon="h:1:ab")
    with running(mine) as given:
        assert context() is mine is given
        assert (mine.id, mine.task, mine.attempt, mine.delivery, mine.daemon) == (
            "1-0",
            "square",
            2,
            3,
            "h:1:ab",
        )
    with pytest.raises(NoContextError):
        context()


def test_another_thread_has_none() -> None:
    seen: list[type[BaseException]] = []

    def look() -> None:
        try:
            context()
        except NoContextError as error:
            seen.append(type(error))

    with running(Context("1-0", "square")):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [NoContextError]


def test_stop_and_progress_go_through_what_the_worker_gave() -> None:
    reports: list[tuple[float, float | None, str]] = []
    mine = Context(
        "1-0",
        "square",
        _should_stop=lambda: True,
        _progress=lambda done, total, note: reports.append((done, total, note)),
    )
    assert mine.should_stop()
    mine.progress(1)
    mine.progress(1, 3, "a.jpg")
    assert reports == [(1, None, ""), (1, 3, "a.jpg")]


def test_without_a_worker_nothing_stops_and_nobody_hears() -> None:
    mine = Context("1-0", "square")
    mine.progress(1, 2)
    assert not mine.should_stop()


def test_the_logger_names_the_job() -> None:
    with structlog.testing.capture_logs() as lines:
        Context("1-0", "square", delivery=2).log.info("half way", done=5)
    assert lines == [
        {"event": "half way", "log_level": "info", "job_id": "1-0", "task": "square", "delivery": 2, "done": 5}
    ]
