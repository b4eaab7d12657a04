"""Which address of a name an asynchronous client connects to: the first behind which somebody answers in time.

asyncio would spend the whole deadline on the first address, and its way out of that (happy eyeballs) leaves sockets
open when it is cancelled. So a name is resolved and its addresses are tried here; redis-py goes on with the socket.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection

from workd.broker.closing import closing_at_once
from workd.client.lookup import is_address


def trying_all_addresses(connection_class: type[AbstractConnection], span_s: float) -> type[Any]:
    """Make of one of redis-py's classes one that shares `span_s`, or less of it, between the addresses of a name."""
    if not issubclass(connection_class, Connection):
        return connection_class  # a unix socket has one

    class Trying(closing_at_once(connection_class)):  # type: ignore[misc]  # a class that is known when it runs
        dialed: socket.socket | None = None

        async def _connect(self) -> None:
            if not is_address(self.host):
                self.dialed = await dial(self.host, self.port, span_s / 2)
            try:
                await super()._connect()
            except BaseException:
                if self.dialed is not None:
                    self.dialed.close()
                raise
            finally:
                self.dialed = None

        def _connection_arguments(self) -> dict[str, Any]:
            given = dict(super()._connection_arguments())
            if self.dialed is not None:
                host, _ = given.pop("host"), given.pop("port")
                given |= {"sock": self.dialed} | ({"server_hostname": host} if given.get("ssl") else {})
            return given

    return Trying


async def dial(host: str, port: int, span_s: float) -> socket.socket:
    """Connect to the first of a name's addresses that answers within its share of `span_s`; the last one may take long.

    Raises what came of the last one: OSError.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for untried, (family, kind, protocol, _, address) in zip(range(len(found) - 1, -1, -1), found, strict=True):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)  # noqa: FBT003  (the standard library has no name for it)
            async with asyncio.timeout(span_s / len(found) if untried else None):
                await loop.sock_connect(sock, address)
            return sock
        except OSError:  # a timeout is one, too
            sock.close()
            if not untried:
                raise
        except BaseException:  # cancelled, by the deadline as a rule
            sock.close()
            raise
    raise OSError(f"{host} has no address")
