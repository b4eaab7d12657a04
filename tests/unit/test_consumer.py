import asyncio
import gc
import weakref
from typing import Any, cast

import pytest

from support.waiting import eventually_async
from workd import consumer as module
from workd.broker.entries import Entry
from workd.broker.session import Session
from workd.clock import Clock
from workd.consumer import Consumer, Source
from workd.dispatcher import Dispatcher
from workd.errors import BrokerError, BrokerUnavailableError, PoolError
from workd.flights import Flight
from workd.intake import Limits
from workd.pool.slot import Job
from workd.retry import Counters
from workd.schedule import DeadLimits
from workd.verdicts import Clerk
from workd.vitals import LOOP_BOUND_S

SOURCE = Source("redis://nowhere", "me", ("default",), (), 15.0, DeadLimits(1, 1.0))


class NoSession:
    """Connects as told: each answer is an exception to raise."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.opened = 0

    async def open(self, *_: object, **__: object) -> Session:
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

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    consuming = asyncio.ensure_future(Aborting(SOURCE, cast("Any", None)).run())
    await entered.wait()
    consuming.cancel()
    await asyncio.wait({consuming}, timeout=20)
    assert consuming.cancelled()
    del consuming
    gc.collect()
    assert complaints == [], "what broke it is nobody's business any more, and is no error in the log"


async def test_it_tries_again_with_backoff_and_says_so_to_health(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NoSession(BrokerUnavailableError("refused"))
    consumer = consumer_with(monkeypatch, session)
    consuming = asyncio.ensure_future(consumer.run())
    await asyncio.sleep(0.3)
    assert session.opened <= 8
    await eventually_async(lambda: session.opened > 1)
    assert consumer.pulse.trouble == "refused"
    assert not consumer.pulse.overdue(LOOP_BOUND_S)
    consuming.cancel()
    await asyncio.wait({consuming})


async def test_what_broken_sessions_hold_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[weakref.ref[Any]] = []

    class Circle:
        def __init__(self) -> None:
            self.itself = self
            left.append(weakref.ref(self))

    class Breaking(Consumer):
        async def _one_session(self) -> None:
            Circle()
            raise BrokerUnavailableError("gone")

    consumer = consumer_with(monkeypatch, NoSession())
    consumer.__class__ = Breaking
    gc.disable()
    try:
        consuming = asyncio.ensure_future(consumer.run())
        await eventually_async(lambda: len(left) > 2)
        assert left[0]() is None
    finally:
        gc.enable()
    consuming.cancel()
    await asyncio.wait({consuming})


async def test_only_a_first_connection_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NoSession(BrokerUnavailableError("refused"))
    required = Source("redis://nowhere", "me", ("default",), (), 15.0, DeadLimits(1, 1.0), require_redis=True)
    with pytest.raises(BrokerError, match="redis_url: refused"):
        await consumer_with(monkeypatch, session, required).run()


async def test_a_quiet_that_is_cut_short_does_not_cut_short_what_it_asks_of_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that is cancelled takes its connection with it, and the drain still needs that."""
    ends: list[str] = []

    class Interrupted:
        async def interrupt(self) -> None:
            try:
                await asyncio.sleep(0.05)
                ends.append("answered")
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

    consumer = consumer_with(monkeypatch, NoSession(BrokerUnavailableError("refused")))
    consumer._session = cast("Session", Interrupted())
    quieting = asyncio.ensure_future(consumer.quiet())
    await asyncio.sleep(0.01)
    quieting.cancel()
    await asyncio.wait({quieting})
    await asyncio.wait_for(consumer._interrupting or asyncio.sleep(0), 20)
    assert ends == ["answered"]


async def test_a_job_that_cannot_be_handed_to_a_worker_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = Dispatcher(("default",), Limits(), Clerk("me"), Clock())
    back: list[Job] = []
    monkeypatch.setattr(dispatcher, "on_returned", back.extend)
    entry = Entry("default", "1-0", b"{}", None, None, Counters(), 0, None)
    job = Job(1, b"", "task", None, Flight(entry, "1-0"))
    dispatcher.on_unstartable([job], PoolError("no descriptor is left"))
    assert back == [job]


@pytest.mark.parametrize("known", [False, True])
async def test_a_wish_for_a_job_that_is_not_known_yet_is_asked_about_again(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    consumer = consumer_with(monkeypatch, NoSession(BrokerUnavailableError("away")))
    if known:  # fetched, and still waiting for its admission, which may have been granted before
        entry = Entry("default", "1-0", b"{}", None, None, Counters(), 1, None)
        consumer._dispatcher.books["default"].open(Flight(entry, "1-0"))
        monkeypatch.setattr(consumer._dispatcher, "_pool", None, raising=False)  # which does not have it yet
    consumer.control.hear(b'{"v":1,"do":"cancel","queue":"another","id":"1-0"}')
    assert not consumer._missed.is_set()
    consumer.control.hear(b'{"v":1,"do":"cancel","queue":"default","id":"1-0"}')
    assert consumer._missed.is_set()
