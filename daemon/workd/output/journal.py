"""The journal's native protocol: entries with fields, sent to journald as datagrams.

Our own few lines, because there is no such library for Python that could be installed everywhere: systemd's binding is
C that has to be compiled against libsystemd, is not on the index as a wheel, and blocks when journald does not read.
The protocol is promised to be stable. Source: JOURNAL_NATIVE_PROTOCOL of systemd's documentation, systemd.exec(5) for
JOURNAL_STREAM, systemd.journal-fields(7) for the names.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import select
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOCKET: Final = "/run/systemd/journal/socket"
MAX_NAME_CHARS: Final = 64
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE: Final = (errno.EMSGSIZE, errno.ENOBUFS)
_GONE: Final = (errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.EDESTADDRREQ)
_NOT_IN_NAMES: Final = re.compile(r"[^A-Z0-9_]+")
# Fields with a meaning of their own to journald and its readers, which no field of a user's is to take.
_TAKEN: Final = frozenset(
    {"MESSAGE", "MESSAGE_ID", "PRIORITY", "ERRNO", "DOCUMENTATION", "TID", "UNIT", "USER_UNIT", "INVOCATION_ID"}
    | {"OBJECT_PID", "CODE_FILE", "CODE_LINE", "CODE_FUNC"}
)
_TAKEN_PREFIXES: Final = ("SYSLOG_", "COREDUMP_")
PRIORITIES: Final = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "exception": 3, "critical": 2}


def is_stderr(environ: Mapping[str, str], fd: int = 2) -> bool:
    """Say whether what is written to this descriptor ends in the journal, and the native socket is there, too."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
        matches = (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (OSError, ValueError):
        return False
    return matches and os.path.exists(SOCKET)  # noqa: PTH110 - pathlib is nothing that a worker should load for this


def field_name(name: str) -> str:
    """Make a field's name of any name: `took_s` is TOOK_S; what journald keeps to itself gets WORKD_ before it."""
    upper = _NOT_IN_NAMES.sub("_", name.upper()).strip("_") or "FIELD"
    if upper in _TAKEN or upper.startswith(_TAKEN_PREFIXES) or upper[0].isdigit():
        upper = f"WORKD_{upper}"
    return upper[:MAX_NAME_CHARS]


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Write an entry; a value of several lines is preceded by its length."""
    parts: list[bytes] = []
    for name, value in fields:
        raw = value.encode("utf-8", "backslashreplace")
        if b"\n" in raw:
            parts += (name.encode(), b"\n", struct.pack("<Q", len(raw)), raw, b"\n")
        else:
            parts += (name.encode(), b"=", raw, b"\n")
    return b"".join(parts)


class JournalTarget:
    """journald's socket. Connected anew when it turns out to be another one; an entry goes as a whole or not at all."""

    whole = True

    def __init__(self, path: str = "") -> None:
        """Connect at the first entry, to journald's own socket unless another is named."""
        self._path = path
        self._socket: socket.socket | None = None

    def write(self, data: bytes) -> int:
        """Send an entry: as a datagram, or in a sealed memory file if it is too large for one."""
        try:
            self._send(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self.close()  # journald was started anew, and made its socket anew
            self._send(data)
        return len(data)

    def _send(self, data: bytes) -> None:
        connected = self._connected()
        try:
            connected.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            _send_large(connected, data)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                made.settimeout(0)
                made.connect(self._path or SOCKET)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def wait(self, timeout_s: float) -> bool:
        """Wait until journald has read something of what waits for it."""
        poll = select.poll()
        poll.register(self._connected().fileno(), select.POLLOUT)
        return bool(poll.poll(timeout_s * 1000))

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _send_large(connected: socket.socket, data: bytes) -> None:
    fd = os.memfd_create("workd-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        connected.sendmsg([], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    finally:
        os.close(fd)
