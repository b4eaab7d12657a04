"""Looking up a name within a deadline, though the C library knows none but its own.

Owned here: a thread for each name that is being looked up, which gives its answer to all who ask for it meanwhile. One
that nobody can answer goes on until the resolver gives up; nobody waits for it, and there is one for a name, not more.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from workd.client.connection import Deadline


class Address(NamedTuple):
    """One of the answers of `socket.getaddrinfo`."""

    family: int
    kind: int
    protocol: int
    canonical: str
    where: Any


class _Lookup:
    """One question to the resolver, under way or answered."""

    def __init__(self, host: str, port: int, kind: int) -> None:
        self.asked = host, port, kind
        self.answered = threading.Event()
        self._addresses: list[Address] = []
        self._error: OSError | None = None

    def run(self) -> None:
        """Ask, and leave the answer for those who wait."""
        try:
            self._addresses = _ask(*self.asked)
        except OSError as error:
            self._error = error
        except UnicodeError as error:  # a part of it that is longer than any name's, for one
            self._error = OSError(f"{self.asked[0]!r:.100} cannot be a host's name: {error}")
        with _lock:
            _under_way.pop(self.asked, None)
        self.answered.set()

    def answer(self) -> list[Address]:
        """Return what came of it, or raise that."""
        if self._error is not None:
            raise type(self._error)(*self._error.args)  # its own for each who waited: they add tracebacks to it
        return self._addresses


_lock = threading.Lock()
_under_way: dict[tuple[str, int, int], _Lookup] = {}


def addresses(host: str, port: int, kind: int, deadline: Deadline) -> list[Address]:
    """Return the addresses of a host, in the order in which to try them; OSError if it has none, or none in time."""
    if is_address(host):
        return _ask(host, port, kind)
    lookup = _begun(host, port, kind)
    if not lookup.answered.wait(deadline.left_s()):
        raise OSError(f"looking up the name {host} took longer than the deadline (is the resolver of this host well?)")
    return lookup.answer()


def is_address(host: str) -> bool:
    """Say whether this is an address, and no name that somebody has to be asked for."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _begun(host: str, port: int, kind: int) -> _Lookup:
    with _lock:
        lookup = _under_way.get((host, port, kind))
        if lookup is not None:
            return lookup
        lookup = _under_way[host, port, kind] = _Lookup(host, port, kind)
    try:
        threading.Thread(target=lookup.run, name="workd-lookup", daemon=True).start()
    except RuntimeError:  # no more threads are to be had: the interpreter is ending, as a rule
        lookup.run()
    return lookup


def _ask(host: str, port: int, kind: int) -> list[Address]:
    return [Address(*found) for found in socket.getaddrinfo(host, port, kind, socket.SOCK_STREAM)]


def _begin_in_child() -> None:
    """Forget what threads of the parent were doing: they are not here."""
    global _lock  # noqa: PLW0603 (it may be held by one of them)
    _lock = threading.Lock()
    _under_way.clear()


os.register_at_fork(after_in_child=_begin_in_child)
