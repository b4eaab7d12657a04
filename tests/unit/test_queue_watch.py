from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from support.waiting import eventually_async
from workd import queue_watch
from workd.errors import BrokerError, BrokerUnavailableError
from workd.queue_watch import STALE_S, QueueWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from workd.broker.session import Session


class FakeSession:
    """Answers with as many queued jobs as it was asked before, or with an error."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None

    async def run(self, script: object, doing: str, queue: str, names: tuple[str, ...], *arguments: object) -> Any:
        self.asked.append(queue)
        if self.error is not None:
            raise self.error
        return [len(self.asked), 0, 0, 0, 0, 0, 1, 0, 1_000, b"", b"", None]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
async def watch() -> QueueWatch:
    return QueueWatch()


@asynccontextmanager
async def running(watch: QueueWatch, session: FakeSession, *queues: str) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(watch.run(cast("Session", session), queues))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_what_is_known_is_answered_at_once_and_without_redis(watch: QueueWatch, session: FakeSession) -> None:
    assert watch.read() == {}
    async with running(watch, session, "default", "images"):
        await eventually_async(lambda: len(session.asked) == 2)
        found = watch.read()
    assert {queue: look.state.queued for queue, look in found.items()} == {"default": 1, "images": 2}


async def test_a_reader_brings_about_a_look_and_does_not_wait_for_it(
    watch: QueueWatch, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(watch, session, "default"):
        await eventually_async(lambda: len(session.asked) == 1)
        watch.read()
        await asyncio.sleep(0)
        assert len(session.asked) == 1  # it was looked at just now
        monkeypatch.setattr(queue_watch, "OFTEN_S", -1.0)
        assert watch.read()["default"].state.queued == 1
        await eventually_async(lambda: len(session.asked) == 2)


async def test_nobody_reads_so_nothing_is_asked(
    watch: QueueWatch, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_watch, "EVERY_S", 0.0)
    async with running(watch, session, "default"):
        await eventually_async(lambda: len(session.asked) == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(session.asked) == 1


async def test_while_somebody_reads_it_is_asked_again_and_again(
    watch: QueueWatch, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_watch, "EVERY_S", 0.0)
    watch.read()
    async with running(watch, session, "default"):
        await eventually_async(lambda: len(session.asked) > 3)


async def test_what_is_old_is_no_metric_and_is_still_shown_with_its_age(
    watch: QueueWatch, session: FakeSession
) -> None:
    async with running(watch, session, "default"):
        await eventually_async(lambda: session.asked)
    looks = watch._looks
    looks["default"] = looks["default"]._replace(at=looks["default"].at - STALE_S - 1)
    assert watch.read() == {}
    assert set(watch.read(max_age_s=float("inf"))) == {"default"}


async def test_a_refusal_is_said_once_and_ends_nothing(
    watch: QueueWatch, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_watch, "EVERY_S", 0.0)
    session.error = BrokerError("NOPERM")
    watch.read()
    with structlog.testing.capture_logs() as lines:
        async with running(watch, session, "default") as task:
            await eventually_async(lambda: len(session.asked) > 3)
            assert not task.done()
    assert [line["error"] for line in lines] == ["NOPERM"]


async def test_a_broken_connection_ends_it(watch: QueueWatch, session: FakeSession) -> None:
    session.error = BrokerUnavailableError("gone")
    async with running(watch, session, "default") as task:
        with pytest.raises(BrokerUnavailableError):
            await task
