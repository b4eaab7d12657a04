import json
import subprocess
import sys
from fractions import Fraction
from typing import Any, cast

import pytest

from workd import excerpt
from workd.pool import frames
from workd.pool.child.runner import MAX_MESSAGE_BYTES, MAX_TRACEBACK_BYTES, RunnerJob, TaskRunner
from workd.wire import ErrorInfo
from workd_tasks import Context, NoContextError, Reject, Retry, SoftTimeout, context, registry, signature, task


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    monkeypatch.setattr(signature, "_signatures", {})


def run(name: str, *args: Any, runner: TaskRunner | None = None) -> tuple[int, Any]:
    message = json.dumps({"task": name, "args": args}).encode()
    runner = runner or TaskRunner("h:1:ab", 1000)
    kind, payload = runner.run(RunnerJob("1-0", name, 1, 1, message))
    return kind, json.loads(payload)


def raised(error: BaseException) -> dict[str, Any]:
    @task(name="raises")
    def raises() -> None:
        raise error

    kind, told = run("raises")
    assert kind == frames.RAISED
    assert isinstance(told, dict)
    return told


def test_a_value_comes_back_as_json() -> None:
    @task
    def square(x: int) -> int:
        return x * x

    assert run("square", 4) == (frames.RETURNED, 16)


def test_the_message_may_be_a_memoryview() -> None:
    @task
    def square(x: int) -> int:
        return x * x

    raw = memoryview(b'..{"task":"square","args":[4]}')[2:]
    assert TaskRunner("d", 10).run(RunnerJob("1-0", "square", 1, 1, raw)) == (frames.RETURNED, b"16")


def test_wrong_arguments_are_invalid_with_their_paths_and_the_task_is_not_called() -> None:
    calls: list[int] = []

    @task
    def square(x: int) -> int:
        calls.append(x)
        return x

    assert run("square", "4") == (
        frames.INVALID,
        {
            "type": "InvalidArguments",
            "message": "task 'square': x: Input should be a valid integer",
            "traceback": None,
            "cause": None,
        },
    )
    assert run("square", 1, 2)[1]["message"] == "task 'square': too many positional arguments"
    assert run("square")[1]["message"] == "task 'square': x: Missing required argument"
    assert calls == []


def test_an_unknown_task_is_told_with_its_nearest_names() -> None:
    task(name="resize_image")(lambda: None)
    kind, told = run("resize_imag")
    assert kind == frames.UNKNOWN_TASK
    assert told["message"] == "no task is called 'resize_imag' here; did you mean resize_image?"
    assert "among those that the daemon runs" in run("xyz")[1]["message"]


def test_an_exception_is_told_with_the_tasks_own_frames_and_its_cause() -> None:
    def inner() -> None:
        raise KeyError("k")

    @task
    def outer() -> None:
        try:
            inner()
        except KeyError as error:
            raise ValueError("no such thing") from error

    kind, told = run("outer")
    assert kind == frames.RAISED
    assert {key: told[key] for key in ("type", "message", "cause", "retry", "after_s")} == {
        "type": "ValueError",
        "message": "no such thing",
        "cause": "KeyError: 'k'",
        "retry": True,
        "after_s": None,
    }
    assert "in inner" in told["traceback"]
    assert "direct cause" in told["traceback"]
    assert told["traceback"].count("in outer") == 2
    assert "pool/child/runner.py" not in told["traceback"]
    ErrorInfo(**{key: told[key] for key in ("type", "message", "traceback", "cause")})


def test_a_cause_without_words_is_its_type_alone() -> None:
    error = ValueError("v")
    error.__cause__ = KeyError()
    assert raised(error)["cause"] == "KeyError"


def test_an_integer_that_nobody_can_read_is_an_error_and_not_a_result() -> None:
    @task
    def huge() -> int:
        return -(10**4300)

    kind, told = run("huge", runner=TaskRunner("d", 100_000))
    assert (kind, told["type"], told["retry"]) == (frames.RAISED, "ResultError", False)
    assert "an integer of 4,301 digits" in told["message"]


def test_a_context_that_was_suppressed_is_no_cause() -> None:
    error = ValueError("v")
    error.__context__ = KeyError("k")
    assert raised(error)["cause"] == "KeyError: 'k'"
    error.__suppress_context__ = True
    assert raised(error)["cause"] is None


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit(), "GeneratorExit", ""),
        (MemoryError(), "MemoryError", ""),
        (SoftTimeout("after 3 s"), "SoftTimeout", "after 3 s"),
        (json.JSONDecodeError("bad", "x", 0), "json.decoder.JSONDecodeError", "bad: line 1 column 1 (char 0)"),
        (ValueError("\ud800"), "ValueError", "?"),
        (Odd(), f"{__name__}.Odd", "<its text cannot be had: RuntimeError in __str__>"),
        (ExceptionGroup("several", [ValueError("a")]), "ExceptionGroup", "several (1 sub-exception)"),
    ],
)
def test_every_end_of_a_task_is_data(error: BaseException, kind: str, message: str) -> None:
    told = raised(error)
    assert (told["type"], told["message"], told["retry"]) == (kind, message, True)


def test_a_validation_error_of_the_tasks_own_is_an_exception_like_others() -> None:
    @task
    def checks() -> None:
        ErrorInfo(type="x")  # type: ignore[call-arg]

    kind, told = run("checks")
    assert (kind, told["type"]) == (frames.RAISED, "pydantic_core._pydantic_core.ValidationError")


@pytest.mark.parametrize(
    ("options", "error", "retried"),
    [
        ({"retry_for": OSError}, TimeoutError(), True),
        ({"retry_for": OSError}, ValueError(), False),
        ({"retry_for": ()}, ValueError(), False),
        ({"retry_for": (OSError, KeyError)}, KeyError(), True),
        ({"no_retry_for": OSError}, ValueError(), True),
        ({"no_retry_for": OSError}, FileNotFoundError(), False),
        ({"retry_for": OSError, "no_retry_for": FileNotFoundError}, FileNotFoundError(), False),
        ({"retry_for": OSError}, SoftTimeout(), True),
        ({"no_retry_for": SoftTimeout}, SoftTimeout(), False),
        ({"retry_for": OSError}, SystemExit(), False),
        ({"no_retry_for": BaseException}, Retry(), True),
    ],
)
def test_a_task_says_which_exceptions_are_worth_another_run(
    options: dict[str, Any], error: BaseException, retried: bool
) -> None:
    @task(name="raises", **options)
    def raises() -> None:
        raise error

    kind, told = run("raises")
    assert (kind, told["retry"]) == (frames.RAISED, retried)


def test_a_soft_timeout_is_told_from_other_exceptions_and_says_what_it_is() -> None:
    told = raised(SoftTimeout())
    assert (told["timed_out"], told["message"]) == (True, "it took longer than its soft timeout")
    assert raised(ValueError())["timed_out"] is False


def test_retry_carries_its_wait() -> None:
    told = raised(Retry(2.5))
    assert (told["type"], told["retry"], told["after_s"]) == ("Retry", True, 2.5)
    assert raised(Retry())["after_s"] is None
    assert raised(Retry(Fraction(1, 4)))["after_s"] == 0.25  # type: ignore[arg-type] # what people may well write
    for wrong in (-1, float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match="after_s"):
            Retry(wrong)


class Leaves(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Homeless(Exception):
    __module__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("error", [Leaves(), Homeless(), SyntaxError("x", ("f", 1, 2, cast("Any", 3)))])
def test_an_exception_that_breaks_whoever_looks_at_it_ends_its_job_and_no_worker(error: BaseException) -> None:
    told = raised(error)
    assert (told["type"], told["retry"]) == ("RuntimeError", True)
    assert "cannot be told" in told["message"]


@pytest.mark.parametrize("reason", [404, None, ValueError("no image")])
def test_a_reason_that_is_no_text_is_made_one(reason: object) -> None:
    @task
    def picky() -> None:
        raise Reject(reason)

    kind, told = run("picky")
    assert (kind, told["message"]) == (frames.REJECTED, str(reason))


def test_reject_ends_the_job_with_its_reason() -> None:
    @task
    def picky() -> None:
        raise Reject("not an image") from ValueError("bad magic")

    kind, told = run("picky")
    assert (kind, told["type"], told["message"]) == (frames.REJECTED, "Reject", "not an image")
    assert told["cause"] == "ValueError: bad magic"
    assert "in picky" in told["traceback"]


def test_a_result_that_json_cannot_hold_is_not_retried() -> None:
    @task
    def odd() -> Any:
        return object()

    kind, told = run("odd")
    assert (kind, told["type"], told["retry"]) == (frames.RAISED, "ResultError", False)
    assert told["message"].startswith("task 'odd' returned object, which cannot be sent as JSON")
    assert told["traceback"] is None


def test_a_result_over_the_limit_is_too_large() -> None:
    @task
    def text(length: int) -> str:
        return "x" * length

    assert run("text", 998)[0] == frames.RETURNED
    kind, told = run("text", 999)
    assert kind == frames.TOO_LARGE
    assert told["message"].startswith("task 'text' returned 1,001 bytes of JSON, over the limit of 1,000;")


def test_errors_have_a_largest_size_and_keep_both_ends() -> None:
    told = raised(ValueError("first" + "é" * 100_000 + "last"))
    for field, limit in (("message", MAX_MESSAGE_BYTES), ("traceback", MAX_TRACEBACK_BYTES)):
        assert limit - 10 <= len(told[field].encode()) <= limit
        assert "bytes cut" in told[field]
    assert told["message"].startswith("first")
    assert told["message"].endswith("last")
    assert told["traceback"].startswith("Traceback (most recent call last)")


def test_deep_recursion_is_told_in_few_lines() -> None:
    @task
    def deep() -> None:
        deep()

    kind, told = run("deep")
    assert (kind, told["type"]) == (frames.RAISED, "RecursionError")
    assert "more times" in told["traceback"]


def test_the_task_sees_its_context_and_the_next_one_does_not() -> None:
    seen: list[tuple[str, str, int, int, str]] = []

    @task
    def look() -> bool:
        mine = context()
        seen.append((mine.id, mine.task, mine.attempt, mine.delivery, mine.daemon))
        mine.progress(1, 2, "half")
        return mine.should_stop()

    reports: list[Any] = []
    runner = TaskRunner("h:1:ab", 100, should_stop=lambda: True, progress=lambda *report: reports.append(report))
    assert runner.run(RunnerJob("1-0", "look", 2, 3, b"{}")) == (frames.RETURNED, b"true")
    assert seen == [("1-0", "look", 2, 3, "h:1:ab")]
    assert reports == [(1, 2, "half")]
    with pytest.raises(NoContextError):
        context()


def test_the_context_knows_the_queue_the_times_and_what_was_given_along() -> None:
    found: list[Any] = []

    @task
    def look(*_: Any) -> None:
        found.append(context())

    runner = TaskRunner("d", 100, queues=("default", "images"))
    said = {"task": "look", "meta": {"user": "zoë"}, "trace": {"traceparent": "00-1-2-01"}}
    raw = json.dumps(said).encode()
    runner.run(RunnerJob("1-0", "look", 1, 1, raw, queue=1, timeout_s=30.0, enqueued_ms=1500))
    (mine,) = found
    assert (mine.queue, mine.enqueued_at) == ("images", 1.5)
    assert (mine.meta, mine.trace) == ({"user": "zoë"}, {"traceparent": "00-1-2-01"})
    left_s = mine.remaining_s()
    assert left_s is not None
    assert 0 < left_s <= 30
    assert Context("1-0", "look").remaining_s() is None
    assert Context("1-0", "look", _deadline=0.0).remaining_s() == 0
    assert Context("1-0", "look").meta == {}


def test_the_context_of_a_long_message_does_not_hold_its_arguments() -> None:
    found: list[Any] = []

    @task
    def length(text: str) -> None:
        found.append(context())

    raw = json.dumps({"task": "length", "args": ["x" * 5000], "meta": {"user": "zoe"}}).encode()
    _, start, end = excerpt.read(raw)
    TaskRunner("d", 1000).run(RunnerJob("1-0", "length", 1, 1, memoryview(raw), start, end))
    assert found[0].meta == {"user": "zoe"}
    assert len(found[0]._message) < 100


def test_the_context_is_gone_after_an_exception_too() -> None:
    raised(SystemExit())
    with pytest.raises(NoContextError):
        context()


def test_a_worker_loads_neither_redis_nor_asyncio() -> None:
    heavy = "{'redis', 'asyncio', 'uvloop', 'structlog', 'typer', 'rich', 'starlette', 'multiprocessing'}"
    code = f"import sys; import workd.pool.child.runner; print({heavy} & set(sys.modules))"
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def run_unread(raw: str) -> tuple[int, Any]:
    """Run a long message as the supervisor hands it over, without having looked at its arguments."""
    message = raw.encode()
    _, start, end = excerpt.read(message)
    assert end
    kind, payload = TaskRunner("d", 1000).run(RunnerJob("1-0", "length", 1, 1, memoryview(message), start, end))
    return kind, json.loads(payload)


def test_arguments_that_nobody_has_parsed_yet_are_refused_as_if_somebody_had() -> None:
    calls: list[int] = []

    @task
    def length(text: str, more: Any = None) -> int:
        calls.append(len(text))
        return len(text)

    long = "NaN" * 1000
    assert run_unread(f'{{"task":"length","args":["{long}"]}}') == (frames.RETURNED, 3000)
    assert run_unread(f'{{"task":"length","args":["{long}", "Infinity"],"timeout":1}}') == (frames.RETURNED, 3000)
    assert calls == [3000, 3000]
    for raw, kind, words in (
        (f'["{long}", NaN]', "InvalidMessage", "NaN is not a JSON number"),
        (f'["{long}", -Infinity]', "InvalidMessage", "-Infinity is not a JSON number"),
        (f'["{long}" 1]', "InvalidMessage", "Invalid JSON: expected"),
        (f'["{long}"],"args":["a"]', "InvalidMessage", "more than once"),
        (f'["{long}"],"priority":[1]', "InvalidMessage", "priority: Extra inputs"),
        (f'[["{long}"]]', "InvalidArguments", "text: Input should be a valid string"),
        (f'["{long}", 1, 2]', "InvalidArguments", "too many positional arguments"),
    ):
        found, told = run_unread(f'{{"task":"length","args":{raw}}}')
        assert (found, told["type"]) == (frames.INVALID, kind)
        assert words in told["message"]
    assert len(calls) == 2


def test_a_long_message_of_another_version_waits_for_a_newer_daemon_although_its_version_was_not_seen() -> None:
    @task
    def length(text: str) -> int:
        return len(text)

    kind, told = run_unread(f'{{"task":"length","args":["{"x" * 3000}"],"v":2,"tags":["new"]}}')
    assert (kind, told["type"]) == (frames.UNKNOWN_TASK, "UnknownVersion")
    assert "version 2" in told["message"]
