"""A daemon's own connections for what people ask: one that listens, and one for each answer, since they are seldom.

Used by `workd.answering`, beside all sessions: a daemon whose session breaks again and again is the very one that
people want to look at. In a Cluster an answer goes to the node of its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from workd import redis_url
from workd.broker import faults, keys, scripts
from workd.broker.link import Link
from workd.broker.servers import Servers
from workd.broker.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

CALL_TIMEOUT_S: Final = 5.0
MAX_ANSWERS: Final = 20_000
"""To one command: two each, of more daemons than anybody has."""


class Answering:
    """Where questions come from and answers go to."""

    def __init__(self, url: str, daemon_id: str) -> None:
        """Take the URL; nothing is connected yet."""
        self._url = redis_url.masked(url)
        self._servers = Servers(url)
        self._name = f"workd:{daemon_id}"

    async def listen(self, on_question: Callable[[bytes], None], on_order: Callable[[bytes], None]) -> Subscription:
        """Hear what is published for daemons, on a connection that the caller closes. Raises `BrokerError`.

        `NotImplementedError`, where no server is behind the connection.
        """
        heard = {keys.ASK: on_question, keys.ORDERS: on_order}
        try:
            connect = await self._servers.find(keys.ASK, CALL_TIMEOUT_S, self._name)
            return await Subscription.open(connect, heard, CALL_TIMEOUT_S)
        except (RedisError, OSError) as error:
            raise faults.told(error, self._url, "listening for questions") from error

    async def post(self, token: str, answer: bytes, field: str, kept_ms: int) -> None:
        """Put an answer where its asker looks for it. Raises `BrokerError`."""
        key = keys.answers(token)
        try:
            connect = await self._servers.find(key, CALL_TIMEOUT_S, self._name)
            link = await Link.open(connect, CALL_TIMEOUT_S)
            try:
                await scripts.ANSWER.call(link, (key,), field, answer, kept_ms, MAX_ANSWERS)
            finally:
                await link.close()
        except (RedisError, OSError) as error:
            raise faults.told(error, self._url, "answering a question") from error
