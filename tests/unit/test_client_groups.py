"""Steps, chains and groups as messages, and what is refused."""

import json
from collections.abc import Callable, Iterator
from typing import Any, assert_type

import pytest

from workd import wire
from workd.client import group_calls
from workd.client.group_messages import MAX_CALLBACK_BYTES, MAX_OUTCOMES, Writer
from workd.client.groups import Chain, Group, Step, chain, group, step
from workd.client.message import JobOptions
from workd.errors import InvalidJobError
from workd.steps import MAX_MEMBERS, MAX_STEPS
from workd_tasks import task


@task(name="groups.load")
def load(path: str) -> bytes:
    return path.encode()


@task(name="groups.resize", queue="images", result_ttl=60)
def resize(image: bytes, width: int, *, height: int = 0) -> bytes:
    return image[: width + height]


@task(name="groups.size")
def size(image: bytes) -> int:
    return len(image)


def message_of(work: Any, **options: Any) -> dict[str, Any]:
    _, raw = Writer(JobOptions(**options), "default", "me").write(work)
    wire.decode(raw)
    found: dict[str, Any] = json.loads(raw)
    return found


def group_of(of: Group, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the record of a group says, and its members' messages."""
    envelopes = Writer(JobOptions(**options), "default", "me").write_group(of)
    members = [json.loads(raw) for _, raw in envelopes.members]
    return dict(zip(envelopes.record[::2], envelopes.record[1::2], strict=True)), members  # type: ignore[arg-type]


# ── chains ──


def test_a_chain_is_the_first_message_with_the_others_in_it() -> None:
    work = step(load, "a.png").then(resize, 64).with_options(timeout=5).then(size)
    assert message_of(work, result_ttl=10) == {
        "task": "groups.load",
        "result_ttl": 10,
        "reply_to": "me",
        "args": ["a.png"],
        "then": [
            {"task": "groups.resize", "queue": "images", "args": [64], "timeout": 5},
            {"task": "groups.size", "queue": "default"},
        ],
    }


def test_the_two_ways_to_write_a_chain_are_one() -> None:
    fluent = step(load, "a").then(resize, 64, height=2).then(size)
    joined = chain(step(load, "a"), step(resize, 64, height=2), step(size))
    assert isinstance(joined, Chain)
    assert message_of(fluent) == message_of(joined) == message_of(chain(chain(fluent)))


def test_a_step_after_another_gets_its_own_arguments_alone() -> None:
    [following] = message_of(step(load, "a").after(load, "b"))["then"]
    assert following == {"task": "groups.load", "pass_value": False, "args": ["b"]}


def test_options_of_the_client_are_those_of_all_steps_or_of_the_chain() -> None:
    options = {"id": "mine", "run_at": 5.0, "meta": {"a": "b"}, "unique": "u"}
    found = message_of(step(load, "a").then(size), timeout=3, queue="q", **options)
    [following] = found.pop("then")
    assert following == {"task": "groups.size", "timeout": 3}
    assert found.items() >= (options | {"timeout": 3}).items()


def test_the_value_of_a_chain_is_typed_as_its_last_step() -> None:
    draft, _ = Writer(JobOptions(), "default", "me").write(chain(step("size", "a"), Step(load)))
    assert draft.target.adapter is not None
    assert draft.target.adapter.validate_json('"eA=="') == b"x"


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (
            lambda: chain(step(load, "a"), Step(resize)),
            "missing a required argument: 'width' .its first argument will be",
        ),
        (lambda: chain(step(load, "a"), Step(size, (1,))), "too many positional arguments"),
        (lambda: step(load), "missing a required argument: 'path'"),
        (lambda: step(load, "a").then(size).with_options(id="x"), "groups.size: id is the whole chain's"),
        (lambda: step(load, "a").then(size).with_options(result_ttl=1), "result_ttl is the whole chain's"),
        (lambda: step(load, "a").then(size).with_options(run_at=1.0), "later ones take delay_s"),
        (lambda: step(load, "a").then("b", object()), "b: the arguments cannot be written as JSON"),
        (lambda: step(load, "a").then("b", float("nan")), "NaN"),
        (lambda: step(load, "a").then("no task!"), "task: "),
        (lambda: step(load, "a").then(len), "len is not a task"),
        (lambda: chain(*[step("a")] * (MAX_STEPS + 2)), "a chain of 102 steps: 101 are the most"),
        (chain, "a chain needs a step"),
        (lambda: step(load, "a").with_options(timeout=-1), "timeout"),
        (lambda: step(load, "a").with_options(durable=True), "durable: it says how messages are sent"),
        (lambda: step(load, "a").then("b").with_options(delay_s=-1), "delay|run_at"),
    ],
)
def test_what_cannot_be_a_chain_is_refused_before_anything_is_sent(work: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidJobError, match=said):
        message_of(work())


def test_type_checkers_follow_a_value_through_a_chain() -> None:
    assert_type(step(size, b""), Step[int])
    assert_type(step(resize, 64), Step[bytes])
    assert_type(step(load, "a").then(resize, 64).then(size), Chain[int])
    assert_type(step(load, "a").after(load, "b"), Chain[bytes])
    assert_type(step(load, "a").then("by name"), Chain[Any])
    step(size, b"").then(resize, 64)  # type: ignore[call-overload]  # an int is no image


# ── groups ──


def test_each_member_says_its_place() -> None:
    record, members = group_of(group(step(load, "a"), step("other", 1), id="g"), result_ttl=0)
    assert members == [
        {"task": "groups.load", "result_ttl": 0, "args": ["a"], "group": {"id": "g", "index": 0}},
        {"task": "other", "result_ttl": 0, "args": [1], "group": {"id": "g", "index": 1}},
    ]
    assert record == {"ttl": "0", "reply_to": "", "cancel_rest": "", "room": "", "before": b"", "after": b""}


def test_the_callback_is_a_message_around_its_first_argument() -> None:
    then = step("collect", 7, name="x").then("tell").with_options(max_retries=2)
    record, members = group_of(
        group(step("a"), then=then, results=True, cancel_rest=True, id="g"), delay_s=5, timeout=3
    )
    message = json.loads(record["before"] + b'{"id":"g"}' + record["after"])
    assert message == {
        "task": "collect",
        "id": "g.end",
        "timeout": 3,
        "result_ttl": 3600,
        "reply_to": "me",
        "kwargs": {"name": "x"},
        "args": [{"id": "g"}, 7],
        "then": [{"task": "tell", "timeout": 3, "max_retries": 2}],
    }
    assert "run_at" in members[0]
    assert members[0]["group"] == {"id": "g", "index": 0, "outcomes": True}
    assert (record["ttl"], record["reply_to"], record["cancel_rest"]) == ("3600000", "me", "1")


def test_members_are_made_as_they_are_asked_for() -> None:
    made: list[int] = []

    def members() -> Iterator[Step[Any]]:
        for number in range(10_000):
            made.append(number)
            yield step("a", number)

    envelopes = Writer(JobOptions(), "default", "me").write_group(Group(members()))
    calls = group_calls.calls(envelopes)
    call = next(calls)
    assert (call.first, call.last, len(call.messages), len(call.drafts)) == (0, False, 500, 500)
    assert len(made) < 1_100
    rest = list(calls)
    assert [each.first for each in rest] == list(range(500, 10_000, 500))
    assert [each.last for each in rest] == [False] * 18 + [True]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (group, "a group needs a member"),
        (lambda: group(step("a"), step(resize, b"", 1)), r"member 1 \(groups.resize\) would go to queue 'images'"),
        (lambda: group(step("a"), then=step(resize, 1)), "the callback groups.resize would go to queue 'images'"),
        (lambda: group(step("a").with_options(id="x")), "member 0 .a.: id='x': a member is named by"),
        (lambda: group(step("a"), then=step("b").with_options(id="x")), "id: the callback is named by its group"),
        (lambda: group(step("a"), then=step("b").with_options(delay_s=1)), "delay_s: the callback"),
        (lambda: group(step("a"), then=Step(load, (1, 2))), "too many positional arguments"),
        (lambda: group(step("a"), then=step("b", "x" * MAX_CALLBACK_BYTES)), "the callback b has more than"),
        (lambda: group(step("a").then("b").with_options(queue="q")), "a chain in a group stays in the group's queue"),
        (lambda: group(step("a"), deadline_s=0), "deadline_s: 0 is no time"),
        (lambda: group(step("a"), deadline_s=float("nan")), "deadline_s: nan is no time"),
        (lambda: group(step("a"), id="a:b"), "id: 'a:b' is no group's id"),
        (lambda: Group([step("a")] * (MAX_OUTCOMES + 1), results=True), "more than 5000 members; take them from"),
        (lambda: Group([step("a")] * (MAX_MEMBERS + 1)), "more than 100000 members$"),
    ],
)
def test_what_cannot_be_a_group_is_refused(of: Callable[[], Group], said: str) -> None:
    with pytest.raises(InvalidJobError, match=said):
        group_of(of())


def test_an_id_for_all_members_is_refused() -> None:
    with pytest.raises(InvalidJobError, match="names one job"):
        group_of(group(step("a")), id="x")
