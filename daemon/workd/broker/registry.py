"""The list of daemons in Redis: each daemon's card under a key that ends by itself, and their ids in one sorted set.

Used by `workd.presence`, over connections of its own: it is about people looking on, and neither hurts a session nor is
hurt by one. In a Cluster the two keys may be on two nodes, and each is written where it belongs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from workd import redis_url
from workd.broker import faults, keys
from workd.broker.link import Link
from workd.broker.servers import Servers

if TYPE_CHECKING:
    from workd.broker.ops import Argument

CALL_TIMEOUT_S: Final = 5.0
LIST_EVERY_S: Final = 600.0
"""How often a daemon puts itself on the list again, and takes those off it that have not for a day."""
FORGET_MS: Final = 86_400_000


class Registry:
    """One daemon's place on the list."""

    def __init__(self, url: str, daemon_id: str) -> None:
        """Take the URL; nothing is connected yet."""
        self._url = redis_url.masked(url)
        self._servers = Servers(url)
        self._id = daemon_id
        self._is_cluster = self._servers.several is not None and self._servers.several.kind == "cluster"
        self._links: dict[str, Link] = {}
        self._clock = asyncio.get_running_loop().time
        self._list_at_s = 0.0

    async def put(self, card: bytes, kept_ms: int, now_ms: int) -> None:
        """Show the card for so long; `now_ms` is the server's time. Raises `BrokerError`."""
        key = keys.daemon(self._id)
        before = await self._call(key, b"SET", key, card, b"PX", kept_ms, b"GET")
        if before is None or self._clock() >= self._list_at_s:  # new, or somebody has emptied Redis
            await self._call(keys.DAEMONS, b"ZADD", keys.DAEMONS, now_ms, self._id)
            await self._call(keys.DAEMONS, b"ZREMRANGEBYSCORE", keys.DAEMONS, b"-inf", now_ms - FORGET_MS)
            self._list_at_s = self._clock() + LIST_EVERY_S

    async def remove(self) -> None:
        """Take card and id away: the daemon ends. Raises `BrokerError`."""
        await self._call(keys.DAEMONS, b"ZREM", keys.DAEMONS, self._id)
        key = keys.daemon(self._id)
        await self._call(key, b"DEL", key)

    async def close(self) -> None:
        """Close all connections; the next call opens what it needs. Safe twice."""
        links, self._links = self._links, {}
        self._list_at_s = 0.0  # whatever has broken them: the list may be gone as well
        for link in links.values():
            await link.close()

    async def _call(self, key: str, *command: Argument) -> Any:
        try:
            return await (await self._link(key)).call(*command)
        except (RedisError, OSError) as error:
            await self.close()
            raise faults.told(error, self._url, "showing this daemon on the list") from error

    async def _link(self, key: str) -> Link:
        place = key if self._is_cluster else ""
        link = self._links.get(place)
        if link is None or link.closed:
            # A key without a hash tag is in the slot of the queue that is called like it.
            connect = await self._servers.find(key, CALL_TIMEOUT_S, f"workd:{self._id}")
            link = self._links[place] = await Link.open(connect, CALL_TIMEOUT_S)
        return link
