"""Where health is answered, as a value: a TCP port or a unix socket.

Used by the settings, by the server and by `workd health`, which must start at once: standard library only, no
Redis, nothing is opened here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HTTP: Final = "127.0.0.1:9977"
_UNIX: Final = "unix:"
_MAX_PORT: Final = 65_535
_MAX_PATH_BYTES: Final = 107  # sun_path, less its closing zero


class TcpAddress(NamedTuple):
    """A host (a name, or an address without brackets) and a port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class UnixAddress(NamedTuple):
    """A unix socket in the file system."""

    path: str

    def __str__(self) -> str:
        return _UNIX + self.path


Address = TcpAddress | UnixAddress


def parse(text: str) -> Address:
    """Read `host:port`, `[::1]:port`, `:port` or `unix:/path`; ValueError says what is wrong."""
    if text.startswith(_UNIX):
        return _unix(text.removeprefix(_UNIX))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError(f"{text!r} is no address: write host:port or unix:/path")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r} is no address: write an IPv6 address in brackets")
    return TcpAddress(host.strip("[]") or "127.0.0.1", int(port))


def _unix(path: str) -> UnixAddress:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is no absolute path")
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ValueError(f"{path!r} is too long for a unix socket ({_MAX_PATH_BYTES} bytes at most)")
    return UnixAddress(path)


def of_instance(environ: Mapping[str, str], pid: int) -> UnixAddress | None:
    """Name this daemon's own socket, in the unit's or session's runtime directory; None without one.

    Both directories are there already: nobody has to make one.
    """
    unit = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    session = environ.get("XDG_RUNTIME_DIR", "")
    path = f"{unit}/health-{pid}.sock" if unit else f"{session}/workd-health-{pid}.sock"
    if not (unit or session).startswith("/"):
        return None
    return UnixAddress(path) if len(os.fsencode(path)) <= _MAX_PATH_BYTES else None
