"""What was given to enqueue, as bytes: options, targets, messages."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_core import from_json

from workd import wire
from workd.client.message import (
    DEFAULT_RESULT_TTL_S,
    Drafts,
    JobOptions,
    build,
    check_queue,
    draft,
    merged,
    refuse_own_id,
    resolve,
)
from workd.errors import InvalidJobError
from workd_tasks import registry, task


@task(name="client.double", queue="images", result_ttl=60)
def double(x: int, *, times: int = 2) -> int:
    return x * times


@task(name="client.today")
def today(day: datetime) -> list[datetime]:
    return [day]


def plain(x: int) -> int:
    return x


def message_of(what: str | Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    raw = build(draft(what, JobOptions(result_ttl=0), "q", "name"), args, kwargs)
    wire.decode(raw)
    message: dict[str, Any] = json.loads(raw)
    assert message.pop("result_ttl") == 0
    return message


def test_a_name_becomes_a_message_with_only_what_was_given() -> None:
    assert message_of("square", 4) == {"task": "square", "args": [4]}
    assert message_of("square", x=4) == {"task": "square", "kwargs": {"x": 4}}
    assert message_of("square") == {"task": "square"}


def test_a_task_function_becomes_its_registered_name() -> None:
    assert message_of(double, 4, times=3) == {"task": "client.double", "args": [4], "kwargs": {"times": 3}}


def test_rich_values_become_json_that_pydantic_reads_back() -> None:
    day = datetime(2026, 1, 2, tzinfo=UTC)
    assert message_of(today, day) == {"task": "client.today", "args": ["2026-01-02T00:00:00Z"]}


@pytest.mark.parametrize(
    ("what", "args", "says"),
    [
        (plain, (1,), "plain is not a task: decorate it with @task"),
        ("no such!", (), "no such!"),
        (double, (), "client.double(x: int, *, times: int = 2) -> int: missing a required argument: 'x'"),
        (double, (1, 2), "too many positional arguments"),
        ("square", (object(),), "square: the arguments cannot be written as JSON"),
        ("square", (float("nan"),), "square: "),
        ("square", ("\ud800",), "square: the arguments cannot be written as JSON"),
        ("square", (10**4300,), "square: an integer of 4,301 digits is more than readers of JSON take"),
        ("square", (from_json("[" * 200 + "]" * 200),), "square: it is nested more than 200 levels deep, flatten it"),
    ],
)
def test_what_cannot_become_a_message_is_refused_by_name(what: Any, args: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        message_of(what, *args)
    assert says in str(caught.value)


@pytest.mark.parametrize("positional", range(5))
@pytest.mark.parametrize("kwargs", [{}, {"b": 1}, {"c": 1}, {"z": 1}])
@pytest.mark.parametrize(
    "signature",
    [
        "",
        "a",
        "a, b=2",
        "a, b, /, c=3",
        "*a",
        "a, *b",
        "*, a",
        "a, *, c",
        "a, *, c=3",
        "a=1, **c",
        "*a, c",
        "a, *b, **c",
    ],
)
def test_a_call_is_refused_exactly_if_python_refuses_it(
    signature: str, kwargs: dict[str, int], positional: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = eval(f"lambda {signature}: None")
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    task(name="client.called")(function)
    args = tuple(range(positional))
    try:
        function(*args, **kwargs)
    except TypeError:
        with pytest.raises(InvalidJobError, match=r"client\.called\("):
            message_of(function, *args, **kwargs)
    else:
        assert message_of(function, *args, **kwargs)["task"] == "client.called"


def test_an_annotation_that_names_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(x: int) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
        return x

    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    task(lost)
    with pytest.raises(InvalidJobError, match=r"lost: its return annotation .*Nowhere"):
        resolve(lost)


@pytest.mark.parametrize("annotation", ["list[int", "datetime.nothing"])
def test_an_annotation_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, annotation: str) -> None:
    def lost(x: int) -> int:
        return x

    lost.__annotations__["return"] = annotation
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    task(lost)
    with pytest.raises(InvalidJobError, match="lost: its return annotation cannot be used"):
        resolve(lost)


@pytest.mark.parametrize("what", [["square"], {"task": "square"}])
def test_what_has_no_hash_is_no_task_either(what: Any) -> None:
    with pytest.raises(InvalidJobError, match="is not a task: decorate it with @task"):
        Drafts(JobOptions(), "q").of(what, "name")


def test_an_argument_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidJobError, match="cannot be written as JSON"):
        message_of("square", circle)


def test_text_that_only_looks_like_nan_is_fine() -> None:
    assert message_of("square", "NaN and Infinity")["args"] == ["NaN and Infinity"]


def test_options_become_the_fields_of_the_envelope() -> None:
    options = JobOptions(
        id="order-7",
        run_at=datetime(2026, 1, 2, tzinfo=UTC),
        expires_at=2e9,
        timeout=30,
        max_retries=2,
        unique="u",
        meta={"who": "me"},
        trace={"traceparent": "00-x"},
    )
    assert options.fields(0.0) == {
        "id": "order-7",
        "run_at": datetime(2026, 1, 2, tzinfo=UTC).timestamp(),
        "expires_at": 2e9,
        "timeout": 30,
        "max_retries": 2,
        "unique": "u",
        "meta": {"who": "me"},
        "trace": {"traceparent": "00-x"},
    }


def test_a_delay_counts_from_the_moment_of_enqueuing() -> None:
    assert JobOptions(delay_s=5).fields(1_000.0) == {"run_at": 1_005.0}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": -1}, "timeout"),
        ({"timeout": "30"}, "timeout"),
        ({"timeout": float("nan")}, "options"),
        ({"max_retries": -1}, "max_retries"),
        ({"id": ""}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"run_at": 1_700_000_000_000}, "run_at"),
        ({"run_at": datetime(2026, 1, 2)}, "no time zone"),  # noqa: DTZ001 (that is the mistake)
        ({"run_at": 1.0, "delay_s": 1.0}, "one of them"),
        ({"delay_s": -1}, "run_at"),
        ({"delay_s": "5"}, "delay_s: '5' is no number of seconds"),
        ({"delay_s": timedelta(seconds=5)}, "delay_s: datetime.timedelta(seconds=5) is no number of seconds"),
        ({"delay_s": True}, "delay_s: True"),
        ({"delay_s": 10**400}, "options"),
        ({"result_ttl": -1}, "result_ttl"),
        ({"meta": {"n": 1}}, "meta"),
        ({"meta": {"n": object()}}, "options"),
        ({"queue": "a b"}, "queue: 'a b'"),
        ({"queue": "{x}"}, "queue"),
        ({"queue": 3}, "queue: 3 is no queue name"),
    ],
)
def test_a_wrong_option_is_refused_where_it_enters(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        JobOptions(**options)
    assert says in str(caught.value)


def test_a_queue_name_is_checked() -> None:
    check_queue("images-2")
    with pytest.raises(InvalidJobError):
        check_queue("")


def test_options_change_one_by_one() -> None:
    options = merged(JobOptions(timeout=5, queue="a"), {"queue": "b"})
    assert options == JobOptions(timeout=5, queue="b")
    assert merged(options, {"queue": None}) == JobOptions(timeout=5)


def test_of_run_at_and_delay_the_later_word_counts() -> None:
    delayed = merged(JobOptions(run_at=9.0), {"delay_s": 1.0})
    assert delayed == JobOptions(delay_s=1.0)
    assert merged(delayed, {"run_at": 9.0}) == JobOptions(run_at=9.0)


def test_the_call_outdoes_the_task_and_the_task_outdoes_the_client() -> None:
    by_client = draft("square", JobOptions(), "q", "name")
    assert (by_client.queue, by_client.fields["result_ttl"]) == ("q", DEFAULT_RESULT_TTL_S)
    by_task = draft(double, JobOptions(), "q", "name")
    assert (by_task.queue, by_task.fields["result_ttl"]) == ("images", 60)
    by_call = draft(double, JobOptions(queue="z", result_ttl=1), "q", "name")
    assert (by_call.queue, by_call.fields["result_ttl"]) == ("z", 1)


def test_replies_are_asked_for_only_when_a_result_is_kept() -> None:
    assert draft("square", JobOptions(), "q", "name").fields["reply_to"] == "name"
    unkept = draft("square", JobOptions(result_ttl=0), "q", "name")
    assert unkept.fields == {"result_ttl": 0}
    assert not unkept.kept


def test_a_draft_is_kept_for_the_same_task_only() -> None:
    drafts = Drafts(JobOptions(), "q")
    kept = drafts.of("square", "name")
    assert drafts.of("square", "name") is kept
    assert drafts.of("cube", "name").target.name == "cube"
    assert drafts.of(double, "name").queue == "images"


def test_a_draft_is_made_anew_where_replies_go_elsewhere() -> None:
    drafts = Drafts(JobOptions(), "q")
    drafts.of("square", "parent")
    assert json.loads(build(drafts.of("square", "child"), (), {}))["reply_to"] == "child"


def test_a_delay_counts_from_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    drafts = Drafts(JobOptions(delay_s=5), "q")
    for now_s in (1_000.0, 2_000.0):
        monkeypatch.setattr("workd.client.message.time.time", lambda now_s=now_s: now_s)
        assert drafts.of("square", "name").fields["run_at"] == now_s + 5


def test_names_that_are_made_up_all_the_time_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.client.message._KEPT_DRAFTS", 3)
    drafts = Drafts(JobOptions(), "q")
    for number in range(10):
        assert drafts.of(f"task-{number}", "name").target.name == f"task-{number}"
        assert len(drafts._known) <= 3


def test_one_id_is_not_given_to_many() -> None:
    refuse_own_id(None)
    with pytest.raises(InvalidJobError, match="'x' names one job"):
        refuse_own_id("x")


def test_only_annotations_that_json_changes_are_validated_on_the_way_back() -> None:
    assert resolve(double).adapter is None
    assert resolve(today).adapter is not None


def test_a_soft_timeout_that_would_never_come_is_refused() -> None:
    with pytest.raises(InvalidJobError, match="soft_timeout=5 must be less than timeout=5"):
        JobOptions(timeout=5, soft_timeout=5)
    assert JobOptions(soft_timeout=5, start_by=3).fields(0.0) == {"soft_timeout": 5, "start_by": 3}


def test_the_daemon_gives_jobs_of_a_unique_task_a_key() -> None:
    fn = task(name="once", unique=True)(lambda: None)
    assert draft(fn, JobOptions(id="mine"), "default", "me").unique
