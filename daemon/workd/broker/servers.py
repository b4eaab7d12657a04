"""Which server a session connects to: that of the URL, the master that Sentinels name, or a queue's node in a Cluster.

Asked anew by each session and remembered by none: a failover breaks the session, and the next one asks again. What is
kept are the addresses of a Cluster's nodes, since those in the URL may all be gone one day. One seed after the other is
asked, in an order of chance, so that one with an old map does not answer every time.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from workd import redis_url
from workd.broker import keys
from workd.broker.link import Connector, Link, connector
from workd.broker.slots import Address, holder, read_slots, slot_of
from workd.errors import BrokerUnavailableError

SEED_S: Final = 2.0
"""How long one seed may take to answer: it may hang, and the next one may not."""
WATCH_S: Final = 1.0
"""How often the Sentinels are asked whether our master is still the one."""


class Servers:
    """The servers of one URL."""

    def __init__(self, url: str) -> None:
        """Take the URL; nothing is asked yet. One that is wrong is refused by `connector`."""
        self._url = url
        try:
            self.several = redis_url.several(url)
        except ValueError:
            self.several = None
        self._nodes: set[Address] = set()  # of a Cluster, when it was last asked
        self._master_was: Address | None = None

    def connector(self, connect_timeout_s: float, client_name: str) -> Connector:
        """Return what connects to the one server, or, of several, to a seed. SettingsError if the URL is wrong."""
        several = self.several
        if several is None:
            return connector(self._url, connect_timeout_s, client_name)
        host, port = several.seeds[0]
        url = several.sentinel_url(host, port) if several.kind == "sentinel" else several.node_url(host, port)
        return connector(url, connect_timeout_s, client_name)

    async def find(self, queue: str, connect_timeout_s: float, client_name: str) -> Connector:
        """Ask which server holds `queue` now, and return what connects to it. Raises redis-py's errors."""
        several = self.several
        if several is None:
            return connector(self._url, connect_timeout_s, client_name)
        if several.kind == "sentinel":
            host, port = self._master_was = await self._master(several, client_name)
            connect = connector(several.node_url(host, port), connect_timeout_s, client_name)
            await _require_master(connect, connect_timeout_s, host, port)
            return connect
        host, port = await self._node_of(several, queue, client_name)
        return connector(several.node_url(host, port), connect_timeout_s, client_name)

    @property
    def may_move(self) -> bool:
        """Whether another server may take the place of ours without ours saying a word."""
        return self.several is not None and self.several.kind == "sentinel"

    async def until_moved(self, client_name: str) -> NoReturn:
        """Ask the Sentinels again and again; raises `BrokerUnavailableError` when they name another master.

        The old one is told only some seconds later, and until then it takes writes that are going to be lost. One that
        hangs says nothing at all.
        """
        several = self.several
        assert several is not None  # noqa: S101 - see may_move
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                now = await self._master(several, client_name)
            except RedisError:
                continue  # none of them can be asked: that is no reason to leave a master that works
            if now != self._master_was:
                raise BrokerUnavailableError(f"the Sentinels name another master: {now[0]}:{now[1]}")

    async def _master(self, several: redis_url.Several, client_name: str) -> Address:
        async def ask(link: Link, _: str) -> Address | None:
            answer = await link.call(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", several.service)
            return None if answer is None else (answer[0].decode(), int(answer[1]))

        unknown = f"knows no master of the name {several.service!r}"
        return await _first_answer(several.seeds, several.sentinel_url, client_name, ask, unknown)

    async def _node_of(self, several: redis_url.Several, queue: str, client_name: str) -> Address:
        slot = slot_of(keys.stream(queue))

        async def ask(link: Link, asked_host: str) -> Address | None:
            nodes = read_slots(await link.call(b"CLUSTER", b"SLOTS"), asked_host)
            self._nodes = {node for _, _, node in nodes}
            return holder(nodes, slot)

        seeds = tuple({*several.seeds, *self._nodes})
        return await _first_answer(seeds, several.node_url, client_name, ask, f"knows no node for slot {slot}")


def name_of(connect: Connector) -> str:
    """Return host and port of what is connected to, for messages."""
    connection = connect()
    return f"{getattr(connection, 'host', '?')}:{getattr(connection, 'port', '?')}"


async def _first_answer(
    seeds: tuple[Address, ...],
    url_of: Callable[[str, int], str],
    client_name: str,
    ask: Callable[[Link, str], Any],
    unknown: str,
) -> Address:
    """Ask one seed after the other until one knows."""
    said: list[str] = []
    for host, port in random.sample(seeds, len(seeds)):
        try:
            link = await Link.open(connector(url_of(host, port), SEED_S, client_name), SEED_S)
            try:
                answer: Address | None = await ask(link, host)
            finally:
                await link.close()
        except (RedisError, OSError) as error:
            said.append(f"{host}:{port}: {error}")
            continue
        if answer is not None:
            return answer
        said.append(f"{host}:{port} {unknown}")
    raise RedisConnectionError("; ".join(said))


async def _require_master(connect: Connector, timeout_s: float, host: str, port: int) -> None:
    """Refuse a server that is not yet, or no longer, what the Sentinels say. One that forbids to ask is believed."""
    link = await Link.open(connect, timeout_s)
    try:
        with suppress(ResponseError):
            role = (await link.call(b"ROLE"))[0]
            if role != b"master":
                raise RedisConnectionError(f"{host}:{port} is called the master and says that it is a {role.decode()}")
    finally:
        await link.close()
