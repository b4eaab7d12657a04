"""An asynchronous client's link where its URL names several servers: see links.py, whose rules are the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from workd import redis_url
from workd.client.async_link import AsyncLink
from workd.client.connection import Deadline
from workd.client.link import refused_url, unreachable
from workd.client.places import SEED_S, Places, pause_before_again_s
from workd.client.sending import check_deadline
from workd.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.connection import Connection

    from workd.client.commands import Command

_LEAST_S = 0.02  # too little for another attempt


def async_link_to(url: str, deadline_s: float) -> AsyncLink:
    """Return the link for a URL. SettingsError, without the password; also for a deadline that is none."""
    check_deadline(deadline_s)
    try:
        several = redis_url.several(url)
    except ValueError as error:
        raise refused_url(url, error) from None
    return AsyncLink(url, deadline_s) if several is None else AsyncLinks(url, deadline_s, Places(several))


class AsyncLinks(AsyncLink):
    """The connections of one client to several servers."""

    def __init__(self, url: str, deadline_s: float, servers: Places) -> None:
        """Check the URL; nobody is asked before the first call."""
        super().__init__(servers.seeds()[0][1], deadline_s)
        self.url = url
        self.servers = servers
        self._links: dict[str, AsyncLink] = {}

    async def call_followed(
        self, command: Command, following: Sequence[Callable[[float], Command]], deadline: Deadline
    ) -> tuple[Any, list[Any]]:
        """Do as `AsyncLink.call_followed`, at the server that the command belongs to."""
        moved = False
        while True:
            try:
                link = await self._link_for(command, deadline)
                return await link.call_followed(command, following, deadline)
            except ClientError as error:
                self.servers.forget()
                pause_s = pause_before_again_s(error, moved_before=moved)
                moved = moved or pause_s == 0.0
                if pause_s is None or deadline.left_s() < pause_s + _LEAST_S:
                    raise
                await asyncio.sleep(pause_s)

    async def connect(self, wanted_for: Command) -> Connection:
        """Open a connection of the caller's own to the server that the command belongs to."""
        try:
            link = await self._link_for(wanted_for, Deadline(self.deadline_s))
            return await link.connect(wanted_for)
        except ClientError:
            self.servers.forget()
            raise

    async def ask(self, connection: Connection, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Do as `AsyncLink.ask`; after an error the next connection is made to whichever server it is then."""
        try:
            return await super().ask(connection, commands, timeout_s)
        except ClientError:
            self.servers.forget()
            raise

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        await super().close()
        for link in list(self._links.values()):
            await link.close()

    def abandon(self) -> None:
        """Have closed what is idle, from any thread."""
        super().abandon()
        for link in list(self._links.values()):
            link.abandon()

    async def _link_for(self, command: Command, deadline: Deadline) -> AsyncLink:
        return self._link(self.servers.url_for(command) or await self._find(command, deadline))

    async def _find(self, command: Command, deadline: Deadline) -> str:
        """Ask one seed after the other where the command belongs."""
        said: list[str] = []
        for host, seed in self.servers.seeds():
            try:
                limit = Deadline(min(SEED_S, deadline.left_s()))
                answer, _ = await self._link(seed).call_followed(self.servers.question(), (), limit)
                why = self.servers.learn(answer, host)
            except ClientError as error:
                why = str(error)
            if (url := self.servers.url_for(command)) is not None:
                return url
            said.append(f"{host}: {why or 'nobody has the slot of its key'}")
        if (last := self.servers.last_url()) is not None:
            return last
        nobody = RedisConnectionError("; ".join(said))
        raise unreachable(command, nobody, self.url) from nobody

    def _link(self, url: str) -> AsyncLink:
        link = self._links.get(url)
        if link is None:
            link = self._links[url] = AsyncLink(url, self.deadline_s)
        return link
