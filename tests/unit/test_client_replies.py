"""The table of outcomes: who waits, what is kept, what a mark means."""

import re

import pytest

from workd.client import replies
from workd.client.replies import NOT_LIVE, ReplyTable, reply_name
from workd.errors import MessageError
from workd.wire import REPLY_TO_PATTERN, Outcome, Status, encode_outcome

LIVE = frozenset({"default"})


def raw(job_id: str) -> bytes:
    return encode_outcome(job_id, "square", Status.SUCCEEDED, b"16", None, 1, 1, 1.0, 1.5, 2.0, "d")


def test_a_reply_name_is_what_the_wire_allows_and_never_the_same() -> None:
    assert re.fullmatch(REPLY_TO_PATTERN, reply_name())
    assert reply_name() != reply_name()


def test_an_outcome_goes_to_all_who_wait_for_it_and_is_not_kept() -> None:
    table = ReplyTable()
    got: list[Outcome] = []
    table.expect(("default", "1-0"), got.append)
    table.expect(("default", "1-0"), got.append)
    table.deliver_raw("default", raw("1-0"))
    assert [outcome.id for outcome in got] == ["1-0", "1-0"]
    assert table.take(("default", "1-0")) is None
    assert table.waiting() == {}


def test_an_outcome_that_came_first_is_given_to_the_first_who_asks() -> None:
    table = ReplyTable()
    table.deliver_raw("default", raw("1-0"))
    got: list[Outcome] = []
    table.expect(("default", "1-0"), got.append)
    assert len(got) == 1
    assert table.take(("default", "1-0")) is None


def test_the_same_id_on_another_queue_is_another_job() -> None:
    table = ReplyTable()
    table.deliver_raw("images", raw("1-0"))
    assert table.take(("default", "1-0")) is None
    assert table.take(("images", "1-0")) is not None


def test_who_has_forgotten_is_not_called() -> None:
    table = ReplyTable()
    got: list[Outcome] = []
    table.expect(("default", "1-0"), got.append)
    assert table.waiting() == {"default": ["1-0"]}
    table.forget(("default", "1-0"), got.append)
    table.forget(("default", "1-0"), got.append)
    table.deliver_raw("default", raw("1-0"))
    assert got == []
    assert table.waiting() == {}


def test_a_mark_is_worth_something_only_while_the_queue_is_live() -> None:
    table = ReplyTable()
    assert table.mark("default") == NOT_LIVE
    table.set_live(LIVE)
    assert table.mark("default") != NOT_LIVE
    assert table.mark("images") == NOT_LIVE


def test_a_mark_changes_when_the_stream_was_not_read_for_a_while() -> None:
    table = ReplyTable()
    table.set_live(LIVE)
    before = table.mark("default")
    table.set_live(LIVE | {"images"})
    assert table.mark("default") == before
    table.set_live(frozenset())
    table.set_live(LIVE)
    assert table.mark("default") != before


def test_the_oldest_outcomes_are_dropped_and_the_marks_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "KEPT_OUTCOMES", 2)
    table = ReplyTable()
    table.set_live(LIVE)
    before = table.mark("default")
    for job_id in ("1-0", "2-0"):
        table.deliver_raw("default", raw(job_id))
    assert table.mark("default") == before
    table.deliver_raw("default", raw("3-0"))
    assert table.mark("default") != before
    assert table.take(("default", "1-0")) is None
    assert table.take(("default", "3-0")) is not None


def test_outcomes_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "KEPT_BYTES", 2 * len(raw("1-0")))
    table = ReplyTable()
    for job_id in ("1-0", "2-0", "3-0", "3-0"):
        table.deliver_raw("default", raw(job_id))
    assert table.take(("default", "1-0")) is None
    assert table.take(("default", "2-0")) is not None


def test_what_is_no_outcome_is_refused() -> None:
    with pytest.raises(MessageError):
        ReplyTable().deliver_raw("default", b"{}")
