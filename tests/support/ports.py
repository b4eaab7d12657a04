"""Ports for servers that are told where to listen: each is given to one process of the tests alone.

Below those that the kernel gives to connections, or one of these could be there first; and locked in a file that all
processes of the tests have open, since several look at the same time. The locks go with the process.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

_LOWEST: Final = 10_000
_FIRST_OF_CONNECTIONS: Final = int(
    Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]
)
_locks: Final = (Path(tempfile.gettempdir()) / f"workd-test-ports-{os.getuid()}").open("ab")
_ours: Final[set[int]] = set()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens, and which nobody else is given."""
    highest = _FIRST_OF_CONNECTIONS if _FIRST_OF_CONNECTIONS > _LOWEST + 1_000 else 32_768
    for port in random.sample(range(_LOWEST, highest), highest - _LOWEST):
        if port not in _ours and _is_locked_for_us(port) and _is_free(port):
            _ours.add(port)
            return port
    raise AssertionError("there is no free port left")


def _is_locked_for_us(port: int) -> bool:
    try:
        fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
