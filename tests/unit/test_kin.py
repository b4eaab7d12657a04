"""What the end of a job means for its group and its chain."""

import json
from typing import Any

import pytest

from support.flying import QUEUE, flight
from workd import kin, retry, wire
from workd.broker.kinship import Kin, Post
from workd.broker.ops import Bury, Finish
from workd.flights import Book, Flight
from workd.intake import Limits, Reader
from workd.retry import Counters
from workd.verdicts import Clerk, Times
from workd.wire import DeadReason, ErrorInfo

TIMES = Times(50.0, 60.0)
NO = ErrorInfo(type="ValueError", message="no", traceback="Traceback …")


@pytest.fixture
def clerk() -> Clerk:
    return Clerk("me", wall=lambda: 100.0, dice=lambda: 0.5, max_message_bytes=1000)


def tied(entry_id: str = "1000-0", **fields: Any) -> Flight:
    """Return a job as the intake gives it."""
    raw = json.dumps({"task": "a", "result_ttl": 60} | fields).encode()
    job = flight(entry_id)
    job, trouble = Reader(Limits(), {"a": {}}, lambda: 100.0).read(job.entry._replace(message=raw))
    assert trouble is None
    return job


def ended(clerk: Clerk, job: Flight, event: retry.Event) -> Finish | Bury:
    settlement = clerk.write(job, clerk.decide(job, event), TIMES)
    assert isinstance(settlement, Finish | Bury)
    return settlement


def following(clerk: Clerk, job: Flight, value: bytes = b"5") -> dict[str, Any]:
    settlement = ended(clerk, job, retry.Returned(value))
    assert settlement.kin is not None
    raw = settlement.kin.following or (settlement.kin.post.message if settlement.kin.post else b"")
    wire.decode(raw)
    found: dict[str, Any] = json.loads(raw)
    return found


def test_a_job_without_kin_is_settled_as_ever(clerk: Clerk) -> None:
    job = tied()
    assert job.kin_ids == ()
    assert ended(clerk, job, retry.Returned(b"5")).kin is None
    assert ended(clerk, job, retry.Raised(NO)).kin is None


# ── chains ──


def test_the_next_step_has_the_value_first_and_the_rest_of_the_chain(clerk: Clerk) -> None:
    job = tied(
        then=[{"task": "b", "args": [1, None], "kwargs": {"k": None}, "timeout": 2, "unique": "u"}, {"task": "c"}],
        reply_to="me",
        meta={"who": "x"},
        trace={"traceparent": "00-…"},
    )
    assert following(clerk, job) == {
        "task": "b",
        "id": "1000-0.1",
        "chain": {"id": "1000-0", "index": 1},
        "args": [5, 1, None],
        "kwargs": {"k": None},
        "timeout": 2,
        "unique": "u",
        "then": [{"task": "c"}],
        "reply_to": "me",
        "result_ttl": 60,
        "meta": {"who": "x"},
        "trace": {"traceparent": "00-…"},
    }


def test_a_step_before_the_last_leaves_no_outcome(clerk: Clerk) -> None:
    settlement = ended(clerk, tied(then=[{"task": "b"}], reply_to="me"), retry.Returned(b"5"))
    assert isinstance(settlement, Finish)
    assert (settlement.outcome, settlement.result_ttl_s, settlement.reply_to) == (None, 0.0, None)


@pytest.mark.parametrize("value", [b"123456789012345678901234567890", b"1.10", b'"\\u2028\\""', b'{"a": [1.0]}'])
def test_a_value_goes_on_as_the_text_it_came_in(clerk: Clerk, value: bytes) -> None:
    settlement = ended(clerk, tied(then=[{"task": "b", "args": [1]}]), retry.Returned(value))
    assert settlement.kin is not None
    assert settlement.kin.following.endswith(b'"args":[' + value + b",1]}")


def test_a_step_can_refuse_the_value_and_wait(clerk: Clerk) -> None:
    found = following(clerk, tied(then=[{"task": "b", "pass_value": False, "delay": 2.5}]))
    assert (found["args"], found["run_at"]) == ([], 102.5)


def test_steps_are_counted_from_the_first_and_named_after_it(clerk: Clerk) -> None:
    job = tied("7-0", id="mine.4", chain={"id": "mine", "index": 4}, then=[{"task": "b"}])
    assert job.kin_ids == ("mine",)
    found = following(clerk, job)
    assert (found["id"], found["chain"]) == ("mine.5", {"id": "mine", "index": 5})


def test_a_step_in_another_queue_is_brought_there_and_remembers_where_the_chain_began(clerk: Clerk) -> None:
    job = tied(then=[{"task": "b", "queue": "images"}, {"task": "c"}])
    settlement = ended(clerk, job, retry.Returned(b"5"))
    [post] = kin.posts_of(settlement)
    assert (post.queue, post.id) == ("images", f"{QUEUE}:1000-0.1")
    found = json.loads(post.message)
    assert found["chain"] == {"id": "1000-0", "index": 1, "queue": QUEUE}
    assert found["id"] == post.id
    assert "queue" not in found


def test_where_it_is_is_said_where_it_was_and_where_it_began_until_its_end(clerk: Clerk) -> None:
    away = {"id": "j", "index": 2, "queue": "home"}
    for job, said in (
        (tied(id="j", then=[{"task": "b"}]), ("j", "1 = j.1", [])),
        (tied(id="j", then=[{"task": "b", "queue": "images"}]), ("j", "1 > images", [("images", f"{QUEUE}:j", "")])),
        (tied(id="home:j.2", chain=away, then=[{"task": "b"}]), ("home:j", "3 = home:j.3", [])),
        (
            tied(id="home:j.2", chain=away, then=[{"task": "b", "queue": "home"}]),
            ("home:j", "3 <", [("home", "j", "")]),
        ),
        (
            tied(id="home:j.2", chain=away, then=[{"task": "b", "queue": "third"}]),
            ("home:j", "3 <", [("third", "home:j", ""), ("home", "j", "> third")]),
        ),
        (tied(id="home:j.2", chain=away, result_ttl=0), ("home:j", "", [("home", "j", "")])),
    ):
        settlement = ended(clerk, job, retry.Returned(b"5"))
        tie = settlement.kin
        assert tie is not None
        posts = kin.posts_of(settlement)
        assert (tie.chain, tie.course, [(post.queue, post.chain, post.course) for post in posts]) == said
        assert {post.number for post in posts if tie.course} <= {int(tie.course[:1] or 0)}


def test_a_step_that_was_moved_to_where_its_chain_began_is_known_there_by_the_chains_own_name(clerk: Clerk) -> None:
    job = tied(id=f"{QUEUE}:j.2", chain={"id": "j", "index": 2, "queue": QUEUE}, then=[{"task": "b"}])
    assert job.kin_ids == ("j",)
    tie = ended(clerk, job, retry.Returned(b"5")).kin
    assert tie is not None
    assert (tie.chain, tie.course) == ("j", "3 = j.3")
    last = tied(id=f"{QUEUE}:j.2", chain={"id": "j", "index": 2, "queue": QUEUE})
    tie = ended(clerk, last, retry.Returned(b"5")).kin
    assert tie is not None
    assert (tie.chain, tie.course, tie.post) == ("j", "", None)


def test_the_name_of_a_step_is_never_longer_than_an_id_may_be(clerk: Clerk) -> None:
    name = following(clerk, tied(id="x" * 128, then=[{"task": "b"}]))["id"]
    assert len(name) <= wire.MAX_ID_CHARS
    assert name == following(clerk, tied(id="x" * 128, then=[{"task": "b"}]))["id"]
    assert name != following(clerk, tied(id="y" * 128, then=[{"task": "b"}]))["id"]


def test_the_last_step_ends_the_chain_under_its_id(clerk: Clerk) -> None:
    job = tied(id="1000-0.2", chain={"id": "1000-0", "index": 2}, reply_to="me")
    settlement = ended(clerk, job, retry.Returned(b"5"))
    assert isinstance(settlement, Finish)
    assert settlement.outcome is not None
    assert wire.decode_outcome(settlement.outcome).id == "1000-0"
    assert (settlement.job_id, settlement.reply_to) == ("1000-0.2", "me")
    assert settlement.kin == Kin("1000-0", chain="1000-0")


def test_the_end_in_another_queue_is_told_where_the_chain_began(clerk: Clerk) -> None:
    chain = {"id": "j", "index": 2, "queue": "home"}
    for event in (retry.Returned(b"5"), retry.Raised(NO)):
        settlement = ended(clerk, tied(id="home:j.2", chain=chain, reply_to="me"), event)
        [post] = kin.posts_of(settlement)
        assert (post.queue, post.id, post.message, post.reply_to, post.result_ttl_s) == ("home", "j", b"", "me", 60)
        assert wire.decode_outcome(post.outcome).id == "j"
        assert (settlement.outcome, settlement.reply_to, settlement.result_ttl_s) == (None, None, 0.0)


def test_of_a_step_that_came_twice_the_queue_where_the_chain_began_is_told_nothing(clerk: Clerk) -> None:
    chain = {"id": "j", "index": 2, "queue": "home"}
    assert kin.posts_of(clerk.duplicate(tied(id="home:j.2", chain=chain))) == ()
    assert len(kin.posts_of(clerk.duplicate(tied(id="home:j.2", chain=chain, unique="u")))) == 1


def test_an_error_names_the_step(clerk: Clerk) -> None:
    job = tied(id="j.1", chain={"id": "j", "index": 1}, then=[{"task": "b"}])
    bury = ended(clerk, job, retry.Raised(NO))
    assert isinstance(bury, Bury)
    assert json.loads(bury.error) == {
        "type": "ValueError",
        "message": "step 2 of 3 (a): no",
        "traceback": "Traceback …",
    } | {"cause": None}
    cancelled = clerk.cancelled(job, "cancelled before it started")
    assert isinstance(cancelled, Finish)
    assert cancelled.outcome is not None
    error = wire.decode_outcome(cancelled.outcome).error
    assert error is not None
    assert error.message == "step 2 of 3 (a): cancelled before it started"


def test_a_value_too_large_for_the_next_step_is_the_end(clerk: Clerk) -> None:
    decision = clerk.decide(tied(then=[{"task": "b"}]), retry.Returned(b'"' + b"x" * 990 + b'"'))
    assert isinstance(decision, retry.Die)
    assert decision.reason is DeadReason.TOO_LARGE
    assert decision.counters == Counters(attempts=1)
    assert "the next step (b)" in decision.error.message


# ── groups ──


def test_a_member_is_counted_whatever_its_end(clerk: Clerk) -> None:
    place = {"id": "g", "index": 3}
    job = tied(group=place)
    assert job.kin_ids == ("g",)
    assert ended(clerk, job, retry.Returned(b"5")).kin == Kin("1000-0", "g", 3, succeeded=True)
    for settlement in (
        ended(clerk, job, retry.Raised(NO)),
        clerk.cancelled(job, "cancelled"),
        clerk.expired(job),
        clerk.broken(job, OSError()),
    ):
        assert isinstance(settlement, Finish | Bury)
        assert settlement.kin == Kin("1000-0", "g", 3, succeeded=False)


def test_a_member_whose_group_keeps_outcomes_says_its_own(clerk: Clerk) -> None:
    job = tied(group={"id": "g", "index": 0, "outcomes": True})
    told = ended(clerk, job, retry.Returned(b"5")).kin
    assert told is not None
    assert told.head + told.body == b'{"id":"1000-0","status":"succeeded","value":5,"error":null}'
    told = ended(clerk, job, retry.Raised(NO)).kin
    assert told is not None
    assert json.loads(told.head + told.body)["error"] == {"type": "ValueError", "message": "no"}


def test_a_chain_in_a_group_is_counted_at_its_end(clerk: Clerk) -> None:
    place = {"id": "g", "index": 3}
    job = tied(group=place, then=[{"task": "b"}])
    settlement = ended(clerk, job, retry.Returned(b"5"))
    assert settlement.kin is not None
    assert settlement.kin.group_id == ""
    assert json.loads(settlement.kin.following)["group"] == place
    assert ended(clerk, tied(group=place, then=[{"task": "b"}]), retry.Raised(NO)).kin == Kin(
        "1000-0", "g", 3, chain="1000-0"
    )


def test_a_member_may_not_leave_its_queue() -> None:
    job = flight()
    raw = b'{"task":"a","group":{"id":"g","index":0},"then":[{"task":"b"},{"task":"c","queue":"other"}]}'
    job, trouble = Reader(Limits(), {"a": {}}, lambda: 100.0).read(job.entry._replace(message=raw))
    assert isinstance(trouble, retry.Refused)
    assert trouble.error.message.startswith("then.1.queue: a member of a group stays")
    assert job.kin_ids == ("g",)  # so that its group hears of its end


# ── on the way ──


def test_jobs_are_asked_for_and_found_by_their_groups_and_chains() -> None:
    book = Book(QUEUE)
    jobs = [
        tied("1-0"),
        tied("2-0", group={"id": "g", "index": 0}),
        tied("3-0", group={"id": "g", "index": 1}, chain={"id": "c", "index": 1}),
    ]
    for job in jobs:
        book.open(job)
    assert sorted(book.job_ids()) == ["1-0", "2-0", "3-0", "c", "g"]
    assert list(book.find(frozenset({"g"}))) == jobs[1:]
    assert list(book.find(frozenset({"c", "1-0"}))) == [jobs[0], jobs[2]]
    assert jobs[1].has_a_name
    assert not jobs[0].has_a_name


def test_a_post_is_only_where_there_is_another_queue(clerk: Clerk) -> None:
    assert kin.posts_of(None) == ()
    assert kin.posts_of(clerk.readd(tied(then=[{"task": "b"}]), Counters(), None)) == ()
    assert kin.posts_of(ended(clerk, tied(then=[{"task": "b"}]), retry.Returned(b"1"))) == ()
    assert Post("q", "i").message == b""
