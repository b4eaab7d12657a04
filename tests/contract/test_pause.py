"""What pausing a queue promises, on every store."""

import json
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from support.caring import queue_care
from support.jobs import QUEUE
from support.stores import Store
from workd.broker import keys, queues
from workd.broker.queues import Paused
from workd.broker.session import Session
from workd.errors import SettingsError


class Caller:
    """A connection of another kind: the client of redis-py."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, *command: str | bytes | float) -> Awaitable[Any]:
        async def answer() -> Any:
            return self._client.execute_command(*command)

        return answer()


async def paused(session: Session) -> Paused | None:
    """Ask as a daemon does when it connects."""
    return await session.ask("asking", QUEUE, lambda link, _: queues.state_if_any(link, QUEUE))


async def test_a_pause_says_who_and_why_until_it_is_resumed(store: Store) -> None:
    link = Caller(store.client())
    async with store.session() as session:
        await session.register(QUEUE)
        assert (await session.takeover(QUEUE)).paused is None
        before_s = time.time()
        await queues.pause(link, QUEUE, "the database moves", by="ops")
        [told] = {await queues.state(link, QUEUE), await paused(session), (await session.takeover(QUEUE)).paused}
        assert told is not None
        assert (told.reason, told.by, told.until) == ("the database moves", "ops", None)
        assert before_s <= (told.at or 0) <= time.time()
        assert await queues.resume(link, QUEUE) == told
        assert await queues.resume(link, QUEUE) is None
        assert (await session.takeover(QUEUE)).paused is None


async def test_a_pause_for_a_time_ends_by_itself_and_a_later_one_replaces_it(store: Store) -> None:
    client = store.client()
    link = Caller(client)
    await queues.pause(link, QUEUE, for_s=600)
    told = await queues.state(link, QUEUE)
    assert told is not None
    assert told.until == pytest.approx(time.time() + 600, abs=60)
    assert 0 < client.pttl(keys.paused(QUEUE)) <= 600_000
    await queues.pause(link, QUEUE)
    assert client.pttl(keys.paused(QUEUE)) == -1


@pytest.mark.parametrize("for_s", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_a_time_that_is_none_is_refused(for_s: float) -> None:
    with pytest.raises(SettingsError, match="for_s"):
        queues.pause_command(QUEUE, for_s=for_s)


async def test_a_key_of_the_wrong_type_pauses_nothing_and_is_not_overwritten(store: Store) -> None:
    client = store.client()
    client.rpush(keys.paused(QUEUE), "wrong")
    async with store.session() as session:
        await session.register(QUEUE)
        assert (await session.takeover(QUEUE)).paused is await paused(session) is None
    for done in (queues.pause, queues.resume):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await done(Caller(client), QUEUE)
    assert client.lrange(keys.paused(QUEUE), 0, -1) == [b"wrong"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"by hand", Paused(reason="by hand")),
        (b"[1]", Paused(reason="[1]")),
        (b"\xff", Paused(reason="\ufffd")),
        (json.dumps({"reason": None, "at": "x"}).encode(), Paused()),
        (b"", Paused()),
        (b"[" * 100_000, Paused(reason="[" * 500)),
        (b'{"at": 1' + b"0" * 400 + b', "until": 1e999}', Paused()),
        (b'{"by": "anna", "until": -1}', Paused(by="anna")),
    ],
    ids=range(8),
)
async def test_whatever_a_person_wrote_there_pauses(store: Store, value: bytes, told: Paused) -> None:
    client = store.client()
    client.set(keys.paused(QUEUE), value)
    async with store.session() as session:
        await session.register(QUEUE)
        assert (await session.takeover(QUEUE)).paused == told
        assert await paused(session) == told
    assert queue_care(store).state(QUEUE).paused == told
    assert queue_care(store).resume(QUEUE) == told
    assert queue_care(store).resume(QUEUE) is None
