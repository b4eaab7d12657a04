"""The stores that the contract suite runs against: fakeredis, real servers, and several of them, behind one face."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import pytest
from fakeredis.aioredis import FakeAsyncRedisConnection

from support.servers import Server
from workd.broker.session import Session

LEASE_S = 15.0


class _FakeConnection(FakeAsyncRedisConnection):
    """Turns the first line of a script, which fakeredis takes for Lua, into a comment of the same length."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if isinstance(command, bytes):  # ours are; those that redis-py sends by itself are lists
            command = command.replace(b"\n#!lua ", b"\n--lua ", 1)
        await super().send_packed_command(command, check_health)


@dataclass
class Store:
    """Somewhere to keep the jobs of one test. `client()` looks at it from outside, `session()` is what is tested."""

    name: str
    server: Server | None = None  # of several, the one that has the queue `default`
    redis_url: str = ""  # where that is not the server's socket
    fake: fakeredis.FakeServer = field(default_factory=fakeredis.FakeServer)

    @property
    def url(self) -> str:
        """Where the store is, for all but fakeredis."""
        assert self.server is not None
        return self.redis_url or self.server.unix_url

    def need_one_server(self) -> None:
        """Skip what is about two queues of one session: in a Cluster each queue has a session of its own."""
        if self.name == "cluster":
            pytest.skip("in a Cluster each queue has a session of its own")

    def client(self) -> Any:  # redis-py types every reply as a union of all modes
        if self.server is not None:
            return self.server.client()
        return fakeredis.FakeRedis(server=self.fake, protocol=2)

    async def open(self, daemon_id: str = "me", lease_s: float = LEASE_S) -> Session:
        """Return a new session; the caller closes it."""
        if self.server is not None:
            return await Session.open(self.url, daemon_id, lease_s, queue="default")
        return await Session.open("fake://", daemon_id, lease_s, connect=self._fake_connection)

    @asynccontextmanager
    async def session(self, daemon_id: str = "me", lease_s: float = LEASE_S) -> AsyncIterator[Session]:
        """Open a session for the length of a `with`."""
        session = await self.open(daemon_id, lease_s)
        try:
            yield session
        finally:
            await session.close()

    def _fake_connection(self) -> FakeAsyncRedisConnection:
        return _FakeConnection(server=self.fake, protocol=2, version=(7, 0), server_type="redis", socket_timeout=None)
