"""One coroutine job in a loop: its value, its errors, its soft timeout, its context."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from workd.pool import frames
from workd.pool.child import coroutines, whereabouts
from workd.pool.child.runner import RunnerJob, TaskRunner
from workd_tasks import (
    Context,
    Reject,
    Retry,
    SoftTimeout,
    around_task,
    context,
    hooks,
    registry,
    signature,
    task,
)

SOON_S = 0.01
LONG_S = 60.0


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    monkeypatch.setattr(signature, "_signatures", {})


async def run(name: str, *args: Any, soft_timeout_s: float = 0.0, job_id: str = "1-0") -> tuple[int, Any]:
    message = json.dumps({"task": name, "args": args}).encode()
    job = RunnerJob(job_id, name, 1, 1, message)
    kind, payload = await coroutines.run_async(TaskRunner("h:1:ab", 1000), 7, job, soft_timeout_s)
    return kind, json.loads(payload)


async def test_a_value_comes_back_as_json() -> None:
    @task
    async def square(x: int) -> int:
        await asyncio.sleep(0)
        return x * x

    assert await run("square", 4) == (frames.RETURNED, 16)


async def test_arguments_are_validated_and_the_function_is_not_called_with_wrong_ones() -> None:
    @task
    async def square(x: int) -> int:
        raise AssertionError

    kind, told = await run("square", "4")
    assert kind == frames.INVALID
    assert told["message"] == "task 'square': x: Input should be a valid integer"


async def test_an_unknown_task_and_too_large_a_result_are_told() -> None:
    @task
    async def large() -> str:
        return "x" * 2000

    assert (await run("larg"))[0] == frames.UNKNOWN_TASK
    assert (await run("large"))[0] == frames.TOO_LARGE


@pytest.mark.parametrize(
    ("error", "kind", "name"),
    [
        (ValueError("no"), frames.RAISED, "ValueError"),
        (Retry(5), frames.RAISED, "Retry"),
        (Reject("never"), frames.REJECTED, "Reject"),
        (SystemExit(3), frames.RAISED, "SystemExit"),
        (asyncio.CancelledError(), frames.RAISED, "asyncio.exceptions.CancelledError"),
    ],
)
async def test_whatever_it_raises_is_data(error: BaseException, kind: int, name: str) -> None:
    @task
    async def raises() -> None:
        await asyncio.sleep(0)
        raise error

    found, told = await run("raises")
    assert (found, told["type"]) == (kind, name)
    assert "pool/child" not in told["traceback"]
    assert "in raises" in told["traceback"]


async def test_each_of_several_sees_its_own_context_and_so_do_the_tasks_it_makes() -> None:
    @task
    async def who() -> list[str]:
        before = context().id
        await asyncio.sleep(SOON_S)

        async def child() -> str:
            return context().id

        return [before, context().id, await asyncio.create_task(child())]

    found = await asyncio.gather(*[run("who", job_id=f"job-{number}") for number in range(5)])
    assert [value for _, value in found] == [[f"job-{number}"] * 3 for number in range(5)]


# ── soft timeouts ──


async def test_a_soft_timeout_is_raised_where_the_coroutine_waits() -> None:
    seen: list[str] = []

    @task
    async def lingers() -> None:
        try:
            await asyncio.sleep(LONG_S)
        except SoftTimeout:
            seen.append("soft")
            await asyncio.sleep(0)  # cleaning up may take a while
            raise
        finally:
            seen.append("finally")

    kind, told = await run("lingers", soft_timeout_s=SOON_S)
    assert (kind, told["type"], seen) == (frames.RAISED, "SoftTimeout", ["soft", "finally"])
    assert "in lingers" in told["traceback"]


async def test_what_a_coroutine_returns_after_it_heard_of_its_soft_timeout_is_its_value() -> None:
    @task
    async def lingers() -> str:
        try:
            await asyncio.sleep(LONG_S)
        except SoftTimeout:
            return "what I have"
        return "not reached"

    assert await run("lingers", soft_timeout_s=SOON_S) == (frames.RETURNED, "what I have")


async def test_one_that_ends_in_time_hears_nothing() -> None:
    @task
    async def quick() -> str:
        await asyncio.sleep(0)
        return "in time"

    assert await run("quick", soft_timeout_s=SOON_S) == (frames.RETURNED, "in time")
    await asyncio.sleep(2 * SOON_S)  # the timer is gone: nothing is cancelled here


@pytest.mark.parametrize("place", ["group", "group body", "gather", "wait_for", "timeout", "child"])
async def test_it_passes_through_asyncios_own_and_leaves_no_child_behind(place: str) -> None:
    children: list[asyncio.Task[Any]] = []

    async def child() -> None:
        children.append(asyncio.current_task())  # type: ignore[arg-type]
        await asyncio.sleep(LONG_S)

    async def in_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    async def in_group_body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await asyncio.sleep(LONG_S)

    async def in_timeout() -> None:
        async with asyncio.timeout(LONG_S):
            await child()

    ways: dict[str, Any] = {
        "group": in_group,
        "group body": in_group_body,
        "gather": lambda: asyncio.gather(child(), child()),
        "wait_for": lambda: asyncio.wait_for(child(), LONG_S),
        "timeout": in_timeout,
        "child": lambda: asyncio.create_task(child()),
    }

    @task
    async def lingers() -> None:
        await ways[place]()

    kind, told = await run("lingers", soft_timeout_s=SOON_S)
    assert (kind, told["type"]) == (frames.RAISED, "SoftTimeout")
    assert children
    mine = asyncio.current_task()
    assert all(one.done() for one in children if one is not mine)


async def test_a_cancellation_that_something_it_awaits_swallows_is_raised_all_the_same() -> None:
    seen: list[str] = []

    async def stubborn() -> str:
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            seen.append("swallowed")
        return "as if nothing had been"

    @task
    async def lingers() -> str:
        return await asyncio.create_task(stubborn())

    kind, told = await run("lingers", soft_timeout_s=SOON_S)
    assert (kind, told["type"], seen) == (frames.RAISED, "SoftTimeout", ["swallowed"])


async def test_it_is_raised_once_and_the_cancellation_behind_it_is_gone() -> None:
    @task
    async def lingers() -> int:
        try:
            await asyncio.sleep(LONG_S)
        except SoftTimeout:
            await asyncio.sleep(SOON_S)
        return asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert await run("lingers", soft_timeout_s=SOON_S) == (frames.RETURNED, 0)


# ── where it is ──


async def test_a_suspended_coroutine_tells_where_it_and_what_it_awaits_are() -> None:
    async def inner() -> None:
        await asyncio.sleep(LONG_S)

    async def outer() -> None:
        await inner()

    one = asyncio.create_task(outer())
    await asyncio.sleep(0)
    lines = whereabouts.describe(one.get_coro()).splitlines()
    assert [line.rpartition(" in ")[2] for line in lines] == ["sleep", "inner", "outer"]
    assert f'File "{__file__}", line ' in lines[1]
    one.cancel()


async def test_hooks_lie_around_a_coroutine_as_around_any_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "around", [])
    monkeypatch.setattr(coroutines, "around", hooks.around)
    said: list[Any] = []

    @around_task
    def around(job: Context) -> Iterator[Any]:
        said.append(job.id)
        value = yield
        said.append(value)
        if value == 9:
            raise ValueError("no nines")

    @task
    async def square(x: int) -> int:
        await asyncio.sleep(0)
        assert context().id in said
        return x * x

    both = await asyncio.gather(run("square", 4, job_id="1-0"), run("square", 3, job_id="2-0"))
    assert both[0] == (frames.RETURNED, 16)
    assert both[1][1]["type"] == "HookError"
    assert said == ["1-0", "2-0", 16, 9]


async def test_each_coroutine_knows_its_own_message_and_time() -> None:
    @task
    async def look() -> list[Any]:
        await asyncio.sleep(0)
        return [context().meta["n"], context().enqueued_at, (context().remaining_s() or 0) > 50]

    runner = TaskRunner("d", 1000, queues=("q",))
    jobs = [
        RunnerJob(
            f"{n}-0", "look", 1, 1, json.dumps({"task": "look", "meta": {"n": str(n)}}).encode(), 0, 0, 0, 60.0, n
        )
        for n in (1000, 2000)
    ]
    runs = await asyncio.gather(*(coroutines.run_async(runner, key, job, 0.0) for key, job in enumerate(jobs)))
    assert [json.loads(payload) for _, payload in runs] == [["1000", 1.0, True], ["2000", 2.0, True]]
