"""The service manager's side of the daemon: readiness, status and watchdog over NOTIFY_SOCKET.

The supervisor owns the one `Notifier` and decides what is true; this module only says it. Saying it never
blocks and never fails: without systemd there is nobody to tell, and a manager that does not listen must not
stop a job. The protocol is sd_notify(3), which promises these datagrams to be stable.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
STATUS_BYTES = 2048
"""The longest line: systemd ignores a datagram of more than 4096 bytes as a whole, with the READY=1 that is in it."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where to say what; `watchdog_s` is the limit between two signs of life, None when nobody watches."""

    address: str | None = None
    watchdog_s: float | None = None

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int | None = None) -> Notifier:
        """Read the manager's variables and remove them: no process that we start is to speak in our name."""
        socket_path, watchdog_usec, watchdog_pid = (environ.pop(name, "") for name in VARIABLES)
        me = os.getpid() if pid is None else pid
        return cls(_address(socket_path), _watchdog_s(watchdog_usec, watchdog_pid, me))

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often to call `watchdog()`: three times within the limit: one late turn kills nobody."""
        return None if self.watchdog_s is None else self.watchdog_s / 3

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager to tell."""
        return self.address is not None

    def ready(self, status: str = "") -> bool:
        """Say that start-up is over; units that are ordered after us start now."""
        return self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> bool:
        """Say that a reload begins; `ready` says that it has ended. Source: sd_notify(3), RELOADING=1."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}", *_status(status))

    def stopping(self, status: str = "") -> bool:
        """Say that the drain has begun."""
        return self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(*_status(text))

    def watchdog(self) -> bool:
        """Give a sign of life. To be called only when every loop passed its own check."""
        return self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for this much time from now, in a start or a stop that takes longer than the unit says."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, *assignments: str) -> bool:
        """Send one datagram; True when the manager has it."""
        if self.address is None or not assignments:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto("\n".join(assignments).encode(), socket.MSG_DONTWAIT, self.address)
        except OSError:  # nobody there, or its buffer is full: the next sign of life says it again
            return False
        return True


def _address(socket_path: str) -> str | None:
    """Turn NOTIFY_SOCKET into an address: a path, or a name in the abstract namespace, written with `@`."""
    match socket_path[:1]:
        case "/":
            return socket_path
        case "@":
            return "\0" + socket_path[1:]
        case _:  # unset, or a kind (vsock:…) that only virtual machines use
            return None


def _watchdog_s(usec: str, pid: str, me: int) -> float | None:
    """Read the watchdog's limit; None unless it is set, positive and meant for this process."""
    if not usec.isascii() or not usec.isdigit() or int(usec) == 0:
        return None
    if pid and pid != str(me):
        return None
    return int(usec) / 1e6


def _status(text: str) -> tuple[str, ...]:
    """Build the STATUS assignment: one line, bounded, of nothing but text.

    It may quote what somebody's code has raised. A line break would begin an assignment of its own; what has a zero
    byte or is no UTF-8 is ignored by systemd, and half a surrogate pair could not even be sent.
    """
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return (f"STATUS={line.encode()[:STATUS_BYTES].decode(errors='ignore')}",) if line else ()
