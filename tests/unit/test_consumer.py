import asyncio
from typing import Any, cast

import pytest

from workd import consumer as module
from workd.broker.session import Session
from workd.clock import Clock
from workd.consumer import Consumer, Source
from workd.dispatcher import Dispatcher
from workd.errors import BrokerError, BrokerUnavailableError
from workd.intake import Limits
from workd.schedule import DeadLimits
from workd.verdicts import Clerk

SOURCE = Source("redis://nowhere", "me", ("default",), (), 15.0, DeadLimits(1, 1.0))


class NoSession:
    """Connects as told: each answer is an exception to raise."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.opened = 0

    async def open(self, *_: object) -> Session:
        self.opened += 1
        await asyncio.sleep(0)
        raise self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def consumer_with(monkeypatch: pytest.MonkeyPatch, session: NoSession, source: Source = SOURCE) -> Consumer:
    monkeypatch.setattr(module, "Session", session)
    clock = Clock()
    return Consumer(source, Dispatcher(source.queues, Limits(), Clerk("me"), clock))


async def test_a_cancellation_is_never_taken_for_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = asyncio.Event()

    class Aborting(Consumer):
        async def _one_session(self) -> None:
            """End as a task group does that is cancelled while it is ending for an error (before Python 3.13)."""
            entered.set()
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                raise BaseExceptionGroup("session", [BrokerUnavailableError("gone")]) from None

    consuming = asyncio.ensure_future(Aborting(SOURCE, cast("Any", None)).run())
    await entered.wait()
    consuming.cancel()
    await asyncio.wait({consuming}, timeout=1)
    assert consuming.cancelled()


async def test_it_tries_again_with_backoff_and_says_so_to_health(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NoSession(BrokerUnavailableError("refused"))
    consumer = consumer_with(monkeypatch, session)
    consuming = asyncio.ensure_future(consumer.run())
    await asyncio.sleep(0.3)
    assert 2 <= session.opened <= 8
    assert consumer.pulse.trouble == "refused"
    assert not consumer.pulse.overdue(0)
    consuming.cancel()
    await asyncio.wait({consuming})


async def test_only_a_first_connection_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NoSession(BrokerUnavailableError("refused"))
    required = Source("redis://nowhere", "me", ("default",), (), 15.0, DeadLimits(1, 1.0), require_redis=True)
    with pytest.raises(BrokerError, match="redis_url: refused"):
        await consumer_with(monkeypatch, session, required).run()
