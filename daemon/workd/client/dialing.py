"""Which address of a name a synchronous client connects to: the first behind which somebody answers in time.

redis-py would look up the name with no deadline at all, and give the whole of a timeout to each of its addresses. So
the name is looked up and its addresses are tried here; redis-py goes on with the socket. See async_dialing.py.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from workd.client import lookup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd.client.connection import Deadline
    from workd.client.lookup import Address


def dial(host: str, port: int, kind: int, deadline: Deadline, keepalive: Mapping[int, Any] | None) -> socket.socket:
    """Connect to the first of the addresses that answers within its share of what is left until the deadline.

    `keepalive` are options of TCP's probes, None: there are to be none. Raises what came of the last one: OSError.
    """
    found = lookup.addresses(host, port, kind, deadline)
    for untried in range(len(found), 0, -1):
        try:
            return _connected(found[-untried], deadline.left_s() / untried, keepalive)
        except OSError:
            if untried == 1:
                raise
    raise OSError(f"{host} has no address")


def _connected(address: Address, span_s: float, keepalive: Mapping[int, Any] | None) -> socket.socket:
    sock = socket.socket(address.family, address.kind, address.protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in keepalive.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.settimeout(span_s)
        sock.connect(address.where)
    except BaseException:  # an interrupt, too
        sock.close()
        raise
    return sock
