"""Hooks around tasks, as the worker's runner calls them, and at the start and the end of a worker."""

import asyncio
import contextlib
import json
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from workd.pool import frames
from workd.pool.child import alarm
from workd.pool.child.runner import RunnerJob, TaskRunner
from workd_tasks import (
    Context,
    Reject,
    Retry,
    SoftTimeout,
    TaskDefinitionError,
    after_task,
    around_task,
    before_task,
    hooks,
    on_failure,
    on_worker_start,
    on_worker_stop,
    registry,
    signature,
    task,
)


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    monkeypatch.setattr(signature, "_signatures", {})
    kept = [list(some) for some in (hooks.around, hooks.starts, hooks.stops)]
    for some in (hooks.around, hooks.starts, hooks.stops):
        some.clear()
    yield
    for some, before in zip((hooks.around, hooks.starts, hooks.stops), kept, strict=True):
        some[:] = before


@pytest.fixture
def said() -> list[Any]:
    """What hooks and the task say, in order. The task `t` says `task` and returns 16, or raises what it is given."""
    return []


def run(said: list[Any], error: BaseException | None = None, **options: Any) -> tuple[int, Any]:
    @task(name="t", **options)
    def t() -> int:
        said.append("task")
        if error is not None:
            raise error
        return 16

    kind, payload = TaskRunner("d", 10_000).run(RunnerJob("7-0", "t", 1, 1, b'{"task":"t"}'))
    return kind, json.loads(payload)


def layer(said: list[Any], name: str) -> None:
    """Register a hook that says when it begins, with what value it ends, and what it is raised."""

    @around_task
    def hook(job: Context) -> Iterator[Any]:
        said.append(f"{name} before {job.id}")
        try:
            value = yield
            said.append(f"{name} after {value}")
        except BaseException as error:
            said.append(f"{name} failed {type(error).__name__}")
            raise


def test_hooks_lie_around_the_task_like_the_layers_of_an_onion(said: list[Any]) -> None:
    layer(said, "outer")
    layer(said, "inner")
    assert run(said) == (frames.RETURNED, 16)
    assert said == ["outer before 7-0", "inner before 7-0", "task", "inner after 16", "outer after 16"]


@pytest.mark.parametrize("error", [ValueError("no"), SoftTimeout(), SystemExit(1), StopIteration(3), GeneratorExit()])
def test_hooks_hear_of_a_failure_which_stays_what_it_is(said: list[Any], error: BaseException) -> None:
    layer(said, "outer")
    layer(said, "inner")
    kind, told = run(said, error)
    assert (kind, told["type"]) == (frames.RAISED, type(error).__name__)
    assert [line.split()[:2] for line in said[3:]] == [["inner", "failed"], ["outer", "failed"]]
    assert "workd_tasks/hooks.py" not in told["traceback"]
    assert "in hook" not in told["traceback"]


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_a_soft_timeout_may_strike_in_the_task_and_in_no_hook(
    said: list[Any], monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    monkeypatch.setattr(alarm, "arm", lambda: said.append("armed"))
    monkeypatch.setattr(alarm, "disarm", lambda: said.append("disarmed"))
    layer(said, "outer")
    run(said, error)
    assert [line.split()[0] for line in said] == ["outer", "armed", "task", "disarmed", "outer"]


def test_a_hook_that_keeps_a_failure_to_itself_does_not_undo_it(said: list[Any]) -> None:
    layer(said, "outer")

    @around_task
    def silent(job: Context) -> Iterator[None]:
        with contextlib.suppress(ValueError):
            yield

    kind, told = run(said, ValueError("no"))
    assert (kind, told["type"], told["message"]) == (frames.RAISED, "ValueError", "no")
    assert said[-1] == "outer failed ValueError"


def test_the_simple_hooks_are_called_before_after_and_on_failure(said: list[Any]) -> None:
    @before_task
    def before(job: Context) -> None:
        said.append(("before", job.task))

    @after_task
    def after(job: Context, value: Any) -> None:
        said.append(("after", value))

    @on_failure
    def failed(job: Context, error: BaseException) -> None:
        said.append(("failed", error))

    run(said)
    assert said == [("before", "t"), "task", ("after", 16)]
    said.clear()
    error = KeyError("k")
    run(said, error)
    assert said == [("before", "t"), "task", ("failed", error)]


def broken_before(job: Context) -> None:
    raise ZeroDivisionError("before")


def broken_after(job: Context, value: Any) -> None:
    raise ZeroDivisionError("after")


def broken_failure(job: Context, error: BaseException) -> None:
    raise ZeroDivisionError("failure")


@pytest.mark.parametrize(
    ("register", "hook", "error"),
    [(before_task, broken_before, None), (after_task, broken_after, None), (on_failure, broken_failure, KeyError("k"))],
)
def test_a_hook_that_raises_fails_the_attempt_and_is_named(
    said: list[Any], register: Callable[..., Any], hook: Callable[..., Any], error: BaseException | None
) -> None:
    layer(said, "outer")
    register(hook)
    kind, told = run(said, error)
    assert (kind, told["type"], told["retry"]) == (frames.RAISED, "HookError", True)
    assert told["message"].startswith(f"the hook {hook.__name__} ({__file__}:")
    assert told["message"].endswith(f"failed: ZeroDivisionError: {hook.__name__.removeprefix('broken_')}")
    assert told["cause"].startswith("ZeroDivisionError")
    assert f"in {hook.__name__}" in told["traceback"]
    assert said[-1] == "outer failed HookError"
    assert ("task" in said) == (hook is not broken_before)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Reject("not here"), frames.REJECTED), (Retry(3), frames.RAISED), (SoftTimeout(), frames.RAISED)],
)
def test_what_a_hook_wishes_means_what_it_means_in_a_task(said: list[Any], error: BaseException, kind: int) -> None:
    @on_failure
    def translate(job: Context, _: BaseException) -> None:
        raise error

    found, told = run(said, ValueError("404"))
    assert (found, told["type"]) == (kind, type(error).__name__)


def test_a_task_may_say_that_a_hooks_exception_is_not_worth_another_run(said: list[Any]) -> None:
    before_task(broken_before)
    assert run(said, no_retry_for=ZeroDivisionError)[1]["retry"] is False


def test_a_hook_must_yield_once(said: list[Any]) -> None:
    @around_task
    def never(job: Context) -> Iterator[None]:
        if not job.id:
            yield

    assert "it did not yield" in run(said)[1]["message"]
    assert said == []
    hooks.around.clear()

    @around_task
    def twice(job: Context) -> Iterator[None]:
        yield
        yield

    assert "it yielded more than once" in run(said)[1]["message"]


def one(a: Any) -> None: ...


async def coroutine(job: Any) -> None: ...


async def many() -> AsyncIterator[None]:
    yield


def yields(job: Any) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("register", "hook", "words"),
    [
        (around_task, one, "must yield once"),
        (around_task, len, "takes a plain function"),
        (before_task, coroutine, "is async"),
        (on_worker_start, many, "is async"),
        (before_task, yields, "only @around_task"),
        (after_task, one, r"must take \(job, value\): too many positional"),
        (on_worker_start, one, r"must take \(\): missing"),
    ],
)
def test_what_cannot_be_a_hook_is_refused_where_it_is_defined(
    register: Callable[..., Any], hook: Any, words: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=words):
        register(hook)


def test_a_script_that_is_imported_again_under_its_own_name_has_its_hooks_once() -> None:
    on_worker_start(broken := lambda: None)
    again = types.FunctionType(broken.__code__, globals())
    again.__module__ = "__main__"
    on_worker_start(again)
    assert [hook.fn for hook in hooks.starts] == [again]
    twin = types.FunctionType(broken.__code__, globals())  # of the same factory
    twin.__module__ = "__main__"
    on_worker_start(twin)
    assert len(hooks.starts) == 2


def test_a_worker_starts_in_order_and_stops_in_reverse_whatever_fails(
    said: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    on_worker_start(lambda: said.append("open one"))
    on_worker_start(lambda: said.append("open two"))
    on_worker_stop(lambda: said.append("close one"))

    @on_worker_stop
    def fail() -> None:
        raise SystemExit("cannot close")

    on_worker_stop(lambda: said.append("close two"))
    assert not hooks.any_async()
    hooks.start_worker(said.append)
    hooks.stop_worker(said.append)
    assert said == ["open one", "open two", "close two", "close one"]
    assert "SystemExit: cannot close" in capsys.readouterr().err


def test_coroutine_functions_have_their_turn_among_the_others(
    said: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    on_worker_start(lambda: said.append("one"))

    @on_worker_start
    @on_worker_stop
    async def second() -> None:
        said.append("two")

    on_worker_start(lambda: said.append("three"))
    on_worker_stop(lambda: said.append("first"))

    @on_worker_stop
    async def fail() -> None:
        raise ConnectionError("cannot close")

    assert hooks.any_async()
    hooks.start_worker(asyncio.run)
    hooks.stop_worker(asyncio.run)
    assert said == ["one", "two", "three", "first", "two"]
    assert "ConnectionError: cannot close" in capsys.readouterr().err
