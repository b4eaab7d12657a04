"""Sockets that systemd has opened before it started us: they take connections while we are only just booting.

Called by the health server. The protocol is sd_listen_fds(3): file descriptors from 3 on, announced by variables that
name the process they are meant for. What is not meant for us is left alone.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from workd.address import Address, TcpAddress, UnixAddress
from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
HEALTH: Final = "health"
"""What a socket unit has to call its sockets: FileDescriptorName=health."""

_FIRST_FD: Final = 3
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound

_log = get_logger(__name__)


def take(environ: MutableMapping[str, str], pid: int, first_fd: int = _FIRST_FD) -> dict[Address, socket.socket]:
    """Take over the listening sockets that are called `health`, each under its address.

    The variables are removed: what we start must not find them. A socket that is none of ours is closed, with a warning
    that says what its unit lacks; so nobody waits for an answer at an address that never gives one.
    """
    wanted, count, names, _ = (environ.pop(name, "") for name in VARIABLES)
    if wanted != str(pid) or not count.isascii() or not count.isdigit():
        return {}
    named = names.split(":") if names else [HEALTH] * int(count)
    fds = range(first_fd, first_fd + int(count))
    return dict(_listeners(zip(fds, named, strict=False)))


def _listeners(handed: Iterator[tuple[int, str]]) -> Iterator[tuple[Address, socket.socket]]:
    for fd, name in handed:
        try:
            os.set_inheritable(fd, False)  # noqa: FBT003 - the signature of the standard library
            listener = socket.socket(fileno=fd)
        except OSError as error:
            _log.warning("systemd announced a socket that is none", fd=fd, name=name, error=error.strerror)
            continue
        address = _address(listener) if name == HEALTH else None
        if address is None:
            _log.warning(
                "a socket of systemd's is not used: its unit needs FileDescriptorName=health", fd=fd, name=name
            )
            listener.close()
        else:
            yield address, listener


def _address(listener: socket.socket) -> Address | None:
    """Say where it listens; None for what is no listening stream socket."""
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    name = listener.getsockname()
    match listener.family:
        case socket.AF_UNIX:
            return UnixAddress(os.fsdecode(name))
        case socket.AF_INET | socket.AF_INET6:
            return TcpAddress(name[0], name[1])
        case _:
            return None


def answers(address: Address, handed: dict[Address, socket.socket]) -> bool:
    """Tell whether one of these sockets has that address, by whatever name: a second one could not be opened."""
    if address in handed:
        return True
    if isinstance(address, UnixAddress):
        return False
    hosts = {other.host for other in handed if isinstance(other, TcpAddress) and other.port == address.port}
    return bool(hosts) and (not hosts.isdisjoint(_WILDCARDS) or not hosts.isdisjoint(_numeric(address)))


def _numeric(address: TcpAddress) -> set[str]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:  # said when it is opened
        return set()
    return {str(sockaddr[0]) for *_, sockaddr in found}
