"""One life of the connections to Redis: opened together, used by name of what is asked, and closed whole.

`Session` is the calls about jobs that go over them; here is what every call needs, and what is asked of a server as
such. Blocking calls have connections of their own (`fetch` one, `wait_inbox` one per queue); all others share one and
are answered in turn. A call that is cancelled takes its connection with it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

from redis.exceptions import RedisError, ResponseError

from workd import redis_url
from workd.broker import checks, faults, keys, places, scripts
from workd.broker.fetching import Fetcher
from workd.broker.link import Connector, Link
from workd.broker.ops import Argument
from workd.broker.posting import Elsewhere
from workd.broker.servers import Servers, name_of
from workd.broker.subscription import Subscription
from workd.errors import BrokerError

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 5.0


class Connections:
    """A daemon's connections to one Redis, under one daemon id."""

    def __init__(self, daemon_id: str, lease_s: float, url: str, connect: Connector, *, timeout_s: float) -> None:
        """Use `open`."""
        self._daemon_id = self.daemon_id = daemon_id
        self._lease_ms = int(lease_s * 1000)
        self._url = redis_url.masked(url)
        self._connect = connect
        self._timeout_s = timeout_s
        self._links: list[Link] = []
        self._dead_max_entries: int | None = None
        self._kind = ""  # of several servers: sentinel or cluster
        self._shared: Link
        self._elsewhere: Elsewhere
        self._fetcher: Fetcher

    @classmethod
    async def open(
        cls,
        url: str,
        daemon_id: str,
        lease_s: float,
        *,
        connect: Connector | None = None,
        servers: Servers | None = None,
        queue: str = "",
        call_timeout_s: float = CALL_TIMEOUT_S,
        dead_max_entries: int | None = None,
    ) -> Self:
        """Connect. `connect` makes connections in place of the URL (tests without a server).

        Where the URL names several servers, `servers` finds the one to connect to, in a Cluster that of `queue`.
        Raises `BrokerUnavailableError` if Redis cannot be reached, and `SettingsError` for a URL that is none.
        """
        servers = servers or Servers(url)
        client_name = f"workd:{daemon_id}"
        connect = connect or servers.connector(call_timeout_s, client_name)
        self = cls(daemon_id, lease_s, url, connect, timeout_s=call_timeout_s)
        self._dead_max_entries = dead_max_entries
        self._elsewhere = Elsewhere(servers, call_timeout_s, client_name)
        self._kind = servers.several.kind if servers.several is not None else ""
        try:
            async with self._asking("connecting"):
                if servers.several is not None:
                    self._connect = await servers.find(queue, call_timeout_s, client_name)
                    self._url = f"{self._url} ({name_of(self._connect)})"
                self._shared = await self._link()
                blocking = await self._link()
                client_id = await blocking.call(b"CLIENT", b"ID")
        except BaseException:
            await self.close()
            raise
        self._fetcher = Fetcher(blocking, self._shared, client_id, daemon_id, call_timeout_s)
        return self

    async def close(self) -> None:
        """Close all connections. Safe twice."""
        for link in self._links:
            await link.close()
        await self._elsewhere.close()

    async def check(self) -> tuple[str, ...]:
        """Return what the server's settings can cost, as texts for people. `BrokerError` if it is too old."""
        replies: list[Any] = []
        async with self._asking("asking for the server's settings"):
            for command in ((b"INFO",), (b"CONFIG", b"GET", *checks.CONFIG)):
                try:
                    replies.append(await self._shared.call(*command))
                except ResponseError:  # forbidden, or unknown there: nothing is told
                    replies.append(None)
        facts = checks.read(*replies)
        if (too_old := checks.too_old(facts)) is not None:
            raise BrokerError(f"{self._url}: {too_old}")
        told = checks.warnings(facts, by_sentinels=self._kind == "sentinel", in_cluster=self._kind == "cluster")
        return tuple(f"{self._url}: {text}" for text in told)

    async def ask(self, doing: str, queue: str, call: Callable[[Link, str], Awaitable[T]]) -> T:
        """Have another part of the broker ask over the shared connection, in this daemon's name."""
        async with self._asking(doing, queue):
            return await call(self._shared, self._daemon_id)

    async def listen(self, on_message: Callable[[bytes], None]) -> Subscription:
        """Hear what is published for daemons, on a connection of its own, which the caller closes."""
        async with self._asking("listening to the control channel"):
            return await Subscription.open(self._connect, {keys.CONTROL: on_message}, self._timeout_s)

    async def run(
        self, script: scripts.Script, doing: str, queue: str, names: tuple[str, ...], *arguments: Argument
    ) -> Any:
        """Run a script that has a module of its own."""
        async with self._asking(doing, queue):
            return await script.call(self._shared, names, *arguments)

    async def now_ms(self) -> int:
        """Return the server's clock."""
        async with self._asking("asking for the time"):
            seconds, micros = await self._shared.call(b"TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def time_calls(self, note: Callable[[float], None]) -> None:
        """Have `note` hear of every answer over the shared connection: how many seconds it took, its turn included."""
        self._shared.on_answer = note

    async def ping(self) -> None:
        """Have the shared connection answer."""
        async with self._asking("pinging"):
            await self._shared.call(b"PING")

    async def _link(self) -> Link:
        link = await Link.open(self._connect, self._timeout_s)
        self._links.append(link)
        return link

    @asynccontextmanager
    async def _asking(self, doing: str, *queues: str) -> AsyncIterator[None]:
        """Turn what redis-py raises into our errors."""
        where = f"{doing}, queue {', '.join(queues)}" if queues else doing
        try:
            yield
        except (RedisError, OSError) as error:
            if faults.is_wrong_type(error):
                await places.look_for_wrong_key(self._shared, self._url, queues)
            raise faults.told(error, self._url, where) from error
