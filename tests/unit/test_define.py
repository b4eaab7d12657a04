import pickle
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from workd_tasks import TaskDefinitionError, TaskOptions, registry, task


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})


def double(x: int) -> int:
    """Return twice x."""
    return 2 * x


def test_the_same_function_comes_back() -> None:
    assert task(double) is double
    assert task(name="other")(double) is double
    assert double(2) == 4
    assert pickle.loads(pickle.dumps(task(double))) is double


def test_the_name_is_the_functions_own() -> None:
    task(double)
    known = registry.get("double")
    assert known is not None
    assert (known.fn, known.module, known.qualname) == (double, __name__, "double")
    assert known.place.startswith(f"{__name__}.double ({__file__}:")
    assert known.options == TaskOptions()


def test_options_and_name_are_kept() -> None:
    task(name="img.resize:v2", queue="images", timeout=30, max_retries=5, backoff_s=0, result_ttl=60)(double)
    known = registry.get("img.resize:v2")
    assert known is not None
    assert known.options == TaskOptions(queue="images", timeout=30, max_retries=5, backoff_s=0, result_ttl=60)


def test_exception_types_stay_in_the_task_and_out_of_the_catalogue() -> None:
    task(retry_for=OSError, no_retry_for=(FileNotFoundError, PermissionError))(double)
    known = registry.get("double")
    assert known is not None
    assert known.retry_for == (OSError,)
    assert known.no_retry_for == (FileNotFoundError, PermissionError)
    assert set(registry.catalogue()["double"]) == {*TaskOptions.__slots__, "module", "is_async"}


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "x" * 129, "größe", "a\n", 5])
def test_bad_names_are_refused(name: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"double .*cannot be a task's name"):
        task(name=name)(double)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(TaskDefinitionError, match="<lambda>"):
        task(lambda: None)
    task(name="nothing")(lambda: None)


async def coroutine() -> None: ...


async def generator() -> Any:
    yield


def test_a_coroutine_function_is_a_task_and_the_catalogue_says_so() -> None:
    assert task(concurrency=5)(coroutine) is coroutine
    task(double)
    assert [registry.catalogue()[name]["is_async"] for name in ("coroutine", "double")] == [True, False]
    assert registry.catalogue()["coroutine"]["concurrency"] == 5


def test_an_async_generator_is_refused_as_any_generator() -> None:
    with pytest.raises(TaskDefinitionError, match=r"task 'generator': .* yields; a task has one result"):
        task(generator)


def test_concurrency_is_for_coroutine_functions_alone() -> None:
    with pytest.raises(TaskDefinitionError, match=r"task 'double': option concurrency is for `async def` tasks"):
        task(concurrency=2)(double)


@pytest.mark.parametrize("value", [0, -1, 1001, 1.5, "2", True])
def test_a_concurrency_that_cannot_be_is_refused(value: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"option concurrency=.* must be an int from 1 to 1000"):
        task(concurrency=value)(coroutine)


def test_a_function_that_yields_is_refused() -> None:
    def several() -> Any:
        yield 1

    with pytest.raises(TaskDefinitionError, match=r"task 'several': .* yields"):
        task(several)


@pytest.mark.parametrize("thing", [len, dict, partial(double, 1), "double", [].append])
def test_only_plain_functions_can_be_tasks(thing: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="plain function"):
        task(thing)


@pytest.mark.parametrize(
    ("option", "value"), [("timeout", 0), ("retry_for", "ValueError"), ("retry_for", int), ("no_retry_for", None)]
)
def test_a_bad_option_is_named_with_its_task(option: str, value: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=rf"task 'double': option {option}=.* must be "):
        task(**{option: value})(double)
    assert registry.get("double") is None


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TaskDefinitionError, match=r"task 'double': there is no option retries; there are .*name.*uni"):
        task(retries=3)(double)  # type: ignore[call-overload]


def test_defining_tasks_loads_neither_pydantic_nor_redis_nor_structlog() -> None:
    heavy = "{'pydantic', 'redis', 'structlog', 'uvloop', 'asyncio', 'multiprocessing'}"
    code = f"import sys; from workd_tasks import task; print({heavy} & set(sys.modules))"
    paths = {"PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_a_task_that_needs_arguments_cannot_have_a_cron_line_of_its_own() -> None:
    def needs(number: int, /, *, word: str = "x") -> None: ...
    def needs_none(number: int = 1, *words: str, **more: int) -> None: ...

    with pytest.raises(TaskDefinitionError, match="option cron is for tasks that need no arguments"):
        task(cron="@daily", name="cron_needs")(needs)
    task(cron="@daily", timezone="Europe/Berlin", name="cron_needs_none")(needs_none)
