"""The board: who is asked to stop, and what jobs say of their progress."""

import os
from collections.abc import Iterator

import pytest

from workd.pool import board
from workd_tasks.options import MAX_CONCURRENCY


@pytest.fixture
def fd() -> Iterator[int]:
    fd = board.create()
    yield fd
    os.close(fd)


def test_nobody_is_asked_to_stop_at_first(fd: int) -> None:
    assert not any(board.is_asked_to_stop(fd, key) for key in (0, 1, 2**63))


def test_one_job_is_asked_and_its_neighbours_are_not(fd: int) -> None:
    board.wish_stop(fd, 7)
    board.wish_stop(fd, 2**40)
    assert [key for key in (1, 7, 8, 2**40) if board.is_asked_to_stop(fd, key)] == [7, 2**40]


def test_all_that_a_worker_can_run_at_once_may_be_asked_before_it_looks(fd: int) -> None:
    for key in range(1, MAX_CONCURRENCY + 1):
        board.wish_stop(fd, key)
    assert board.asked_to_stop(fd) == frozenset(range(1, MAX_CONCURRENCY + 1))
    assert not board.is_asked_to_stop(fd, MAX_CONCURRENCY + 1)


def test_of_more_than_the_ring_holds_the_last_ones_are_asked(fd: int) -> None:
    for key in range(1, 1101):
        board.wish_stop(fd, key)
    asked = [key for key in range(1, 1101) if board.is_asked_to_stop(fd, key)]
    assert asked == list(range(77, 1101))
    assert board.reports_count(fd) == 0
    assert board.read_order(fd) == 0
    assert all(board.read_report(fd, key) == b"" for key in range(64))


def test_a_drain_asks_all_and_keeps_what_was_asked_before(fd: int) -> None:
    board.wish_stop(fd, 7)
    board.wish_stop_of_all(fd)
    board.wish_stop(fd, 9)
    assert all(board.is_asked_to_stop(fd, key) for key in (1, 7, 9))


def test_a_report_is_read_by_its_jobs_key_alone(fd: int) -> None:
    board.write_report(fd, 3, 1, b'{"done":1}')
    board.write_report(fd, 4, 2, b'{"done":2}')
    board.write_report(fd, 3, 3, b'{"done":3}')
    assert board.reports_count(fd) == 3
    assert (board.read_report(fd, 3), board.read_report(fd, 4)) == (b'{"done":3}', b'{"done":2}')
    assert board.read_report(fd, 35) == b"", "another job in the same place"
    assert board.read_report(fd, 5) == b""


def test_a_report_that_is_half_written_reads_as_none(fd: int) -> None:
    board.write_report(fd, 3, 1, b'{"done":1}')
    os.pwrite(fd, b"9", board._PLACES_AT + 3 * board._PLACE_BYTES + board._REPORT_HEAD.size + 8)
    assert board.read_report(fd, 3) == b""


def test_what_a_worker_writes_over_everything_is_no_report(fd: int) -> None:
    os.pwrite(fd, os.urandom(board._STACKS_AT), 0)
    assert all(board.read_report(fd, key) == b"" for key in range(64))


@pytest.mark.parametrize("harm", ["filled", "emptied"])
def test_the_supervisor_writes_and_reads_whatever_a_worker_has_done_to_the_board(fd: int, harm: str) -> None:
    if harm == "filled":
        os.pwrite(fd, b"\xff" * board._STACKS_AT, 0)
    else:
        os.ftruncate(fd, 0)
    board.read_report(fd, 31)
    for key in (1, 2):
        board.wish_stop(fd, key)
    board.wish_stop_of_all(fd)
    board.write_order(fd, 1)
    assert (board.read_report(fd, 3), board.reports_count(fd) >= 0) == (b"", True)
    assert board.is_asked_to_stop(fd, 2)


def test_the_longest_report_leaves_its_neighbour_alone(fd: int) -> None:
    board.write_report(fd, 4, 1, b"mine")
    board.write_report(fd, 3, 2, b"x" * board.MAX_REPORT_BYTES)
    assert board.read_report(fd, 3) == b"x" * board.MAX_REPORT_BYTES
    assert board.read_report(fd, 4) == b"mine"


def test_stacks_and_reports_do_not_touch_each_other(fd: int) -> None:
    board.write_report(fd, 31, 1, b"x" * board.MAX_REPORT_BYTES)
    os.write(fd, b'File "task.py", line 1')
    assert board.read_stacks(fd) == 'File "task.py", line 1'
    assert board.stacks_size(fd) == 22
    board.clear_stacks(fd)
    assert board.read_stacks(fd) == ""
    assert board.read_report(fd, 31) == b"x" * board.MAX_REPORT_BYTES


def test_an_answer_is_read_by_its_question_wherever_it_stands_among_the_stacks(fd: int) -> None:
    assert board.read_question(fd) == 0
    board.write_question(fd, 2**60)
    assert board.read_question(fd) == 2**60
    os.write(fd, b"Current thread 0x1 (most recent call first):\n")
    board.write_answer(fd, 7, b"[1]")
    os.write(fd, b"more")
    assert (board.read_answer(fd, 7), board.read_answer(fd, 8)) == (b"[1]", b"")
    board.clear_stacks(fd)
    assert board.read_answer(fd, 7) == b""


def test_half_an_answer_is_none(fd: int) -> None:
    board.write_answer(fd, 7, b"x" * 100)
    os.ftruncate(fd, board._STACKS_AT + 60)
    assert board.read_answer(fd, 7) == b""
    os.ftruncate(fd, board._STACKS_AT + 10)
    assert board.read_answer(fd, 7) == b""
    os.ftruncate(fd, 0)
    assert board.read_answer(fd, 7) == b""


def test_an_answer_that_is_too_long_is_not_written(fd: int) -> None:
    board.write_answer(fd, 7, b"x" * (board.MAX_ANSWER_BYTES + 1))
    assert board.stacks_size(fd) == 0
