"""What a task's context asks and says, on a board as in a worker."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from workd.pool import board
from workd.pool.child import notices


@pytest.fixture
def fd(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    fd = board.create()
    monkeypatch.setattr(notices, "_board_fd", fd)
    monkeypatch.setattr(notices, "key", 5)
    yield fd
    os.close(fd)


def reported(fd: int) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(board.read_report(fd, 5))
    return said


def test_without_a_worker_nobody_asks_and_nobody_hears() -> None:
    assert not notices.should_stop()
    notices.report(1)


def test_the_job_under_way_is_asked_and_the_next_one_is_not(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not notices.should_stop()
    board.wish_stop(fd, 5)
    assert notices.should_stop()
    monkeypatch.setattr(notices, "key", 6)
    assert not notices.should_stop()


def test_the_last_report_is_the_one_that_is_read(fd: int) -> None:
    notices.report(1)
    notices.report(2, 10, "b.jpg")
    said = reported(fd)
    assert said.pop("at") > 0
    assert said == {"done": 2, "total": 10, "note": "b.jpg"}
    assert board.reports_count(fd) >= 2


@pytest.mark.parametrize(
    "note", ["x" * 10_000, "\N{GRINNING FACE}" * 1_000, "\x00" * 1_000, "\ud800 half a letter", ""]
)
def test_a_note_of_any_kind_and_length_is_readable_json(fd: int, note: str) -> None:
    notices.report(2**60, 1e300, note)
    said = reported(fd)
    assert len(said["note"]) <= 300
    assert said["note"][:20] == note.encode(errors="replace").decode()[:20]


class NumpyLike:
    def __float__(self) -> float:
        return 2.5


def test_numbers_of_other_libraries_become_plain_ones(fd: int) -> None:
    notices.report(NumpyLike(), True)  # type: ignore[arg-type]
    assert (reported(fd)["done"], reported(fd)["total"]) == (2.5, 1)


@pytest.mark.parametrize("done", [float("nan"), float("inf"), 10**400])
def test_what_is_no_finite_number_is_refused_with_its_name(fd: int, done: float) -> None:
    with pytest.raises(ValueError, match="progress: done"):
        notices.report(done)
    with pytest.raises(ValueError, match="progress: total"):
        notices.report(1, done)


def test_a_note_that_is_no_text_is_refused(fd: int) -> None:
    with pytest.raises(TypeError, match="note is to be text, not int"):
        notices.report(1, 2, 3)  # type: ignore[arg-type]
