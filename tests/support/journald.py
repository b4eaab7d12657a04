"""A journald for tests: reads entries of the native protocol, and can be stopped and started."""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_DATAGRAM_BYTES = 1 << 20


def decode(raw: bytes) -> dict[str, str]:
    """Return the fields of an entry."""
    fields: dict[str, str] = {}
    while raw:
        name, separator, rest = raw.partition(b"\n") if _is_binary(raw) else raw.partition(b"=")
        if separator == b"=":
            value, _, raw = rest.partition(b"\n")
        else:
            [size] = struct.unpack_from("<Q", rest)
            value, raw = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def _is_binary(raw: bytes) -> bool:
    line_end, equals = raw.find(b"\n"), raw.find(b"=")
    return equals < 0 or line_end < equals


class Journald:
    """Listens where it is told to, and reads when it is asked to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sealed = 0
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Make the socket; whatever came to an earlier one is gone."""
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    def stop(self) -> None:
        """Go away, and leave a socket behind that refuses."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def next(self, timeout_s: float = 20.0) -> dict[str, str]:
        """Return the next entry; TimeoutError if none comes."""
        assert self._socket is not None
        self._socket.settimeout(timeout_s)
        data, ancillary, _, _ = self._socket.recvmsg(_DATAGRAM_BYTES, socket.CMSG_SPACE(4))
        if not ancillary:
            return decode(data)
        fds = array.array("i")
        fds.frombytes(ancillary[0][2])
        self.sealed += 1
        with os.fdopen(fds[0], "rb") as file:
            file.seek(0)
            return decode(file.read())

    def until(self, is_it: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Read until there is a certain entry, and return it."""
        while not is_it(entry := self.next()):
            pass
        return entry
