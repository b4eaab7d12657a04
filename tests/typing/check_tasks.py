"""What type checkers must see of tasks and handles. It is not run: mypy and pyright read it, and complain.

Each `ignore` has to hide an error: both checkers report those that hide none.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_type

from workd import (
    AsyncClient,
    AsyncHandle,
    Client,
    Context,
    Handle,
    after_task,
    around_task,
    before_task,
    context,
    on_failure,
    on_worker_start,
    on_worker_stop,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Report:
    """What a task returns."""

    lines: list[str]


@task
def square(x: int) -> int:
    """Be registered without options."""
    return x * x


@task(
    name="reports.write",
    queue="reports",
    timeout=30,
    soft_timeout=20.5,
    max_retries=5,
    backoff_s=1,
    max_backoff_s=60,
    jitter=False,
    retry_for=(OSError, ValueError),
    no_retry_for=FileNotFoundError,
    max_crashes=1,
    expires=60,
    start_by=None,
    result_ttl=3600,
    unique=True,
    memory_limit="512M",
)
def write(day: dt.date, *, title: str = "") -> Report:
    """Be registered with every option."""
    return Report([title, str(day)])


@task(timeout="30")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def wrong_type() -> None:
    """Have an option of the wrong type."""


@task(  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
    retries=3
)
def wrong_name() -> None:
    """Have an option that there is not."""


@task(timeout=5)
async def fetch(url: str) -> bytes:
    """Be a coroutine function."""
    return url.encode()


def a_task_is_the_function_that_it_was() -> None:
    """Call tasks."""
    assert_type(square(4), int)
    assert_type(write(dt.date.today(), title="a"), Report)  # noqa: DTZ011 (it is never run)
    square("4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_handle_has_the_type_of_the_return_annotation(client: Client) -> None:
    """Enqueue and wait."""
    handle = client.enqueue(square, 4)
    assert_type(handle, Handle[int])
    assert_type(handle.get(timeout=5), int)
    assert_type(client.enqueue(write, dt.date(2026, 1, 1), title="a").get(), Report)
    assert_type(client.with_options(delay_s=3, timeout=5).enqueue(square, x=4).get(), int)
    assert_type(client.enqueue(fetch, "http://localhost").get(), bytes)
    assert_type(client.enqueue("square", 4).get(), Any)
    assert_type(client.enqueue_many(square, [(1,), (2,)]), list[Handle[int]])
    assert_type(client.enqueue_many(fetch, [("a",)]), list[Handle[bytes]])


def arguments_are_checked_by_the_signature(client: Client) -> None:
    """Enqueue wrongly."""
    client.enqueue(square, "4")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client.enqueue(square)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.enqueue(write, dt.date(2026, 1, 1), tittle="a")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    client.with_options(retries_=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def an_async_handle_has_it_too(client: AsyncClient) -> None:
    """Enqueue and wait, awaited."""
    handle = await client.enqueue(square, 4)
    assert_type(handle, AsyncHandle[int])
    assert_type(await handle.get(timeout=5), int)
    assert_type(await (await client.enqueue(write, dt.date(2026, 1, 1))).get(), Report)
    assert_type(await client.enqueue_many(square, [(1,)]), list[AsyncHandle[int]])
    assert_type(await (await client.enqueue(fetch, "a")).get(), bytes)
    assert_type(await client.enqueue_many(fetch, [("a",)]), list[AsyncHandle[bytes]])


def the_context_is_typed() -> None:
    """Ask the context."""
    job = context()
    assert_type(job, Context)
    assert_type(job.remaining_s(), float | None)
    assert_type(job.meta["user"], str)
    assert_type(job.should_stop(), bool)


@around_task
def around(job: Context) -> Iterator[None]:
    """Be a hook."""
    assert_type(job.task, str)
    yield


@before_task
def before(job: Context) -> None:
    """Be a hook."""


@after_task
def after(job: Context, value: object) -> None:
    """Be a hook."""


@on_failure
def failed(job: Context, error: BaseException) -> None:
    """Be a hook."""


@on_worker_start
def start() -> None:
    """Be a hook."""


@on_worker_stop
def stop() -> None:
    """Be a hook."""


@on_worker_start
@on_worker_stop
async def both() -> None:
    """Be a hook in the worker's event loop."""


@before_task  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
def wrong_hook() -> None:
    """Take no context."""
