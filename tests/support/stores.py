"""The three stores that the contract suite runs against: fakeredis, Redis and Valkey, behind one face."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import fakeredis
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
    server: Server | None = None
    fake: fakeredis.FakeServer = field(default_factory=fakeredis.FakeServer)

    def client(self) -> Any:  # redis-py types every reply as a union of all modes
        if self.server is not None:
            return self.server.client()
        return fakeredis.FakeRedis(server=self.fake, protocol=2)

    async def open(self, daemon_id: str = "me", lease_s: float = LEASE_S) -> Session:
        """Return a new session; the caller closes it."""
        if self.server is not None:
            return await Session.open(self.server.unix_url, daemon_id, lease_s)
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
