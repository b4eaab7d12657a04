"""The service manager's end of NOTIFY_SOCKET: what a daemon tells systemd, kept in its order."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path


class NotifySocket:
    """Where a daemon's messages arrive. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._messages: list[dict[str, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)  # the kernel keeps ten of them, no more
        self._reader.start()

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """Return the variables by which a daemon finds this."""
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self._path} | watchdog

    def messages(self) -> list[dict[str, str]]:
        """Return all that was said until now, as assignments by name."""
        return list(self._messages)

    def _read(self) -> None:
        while text := self._socket.recv(65_536).decode():
            self._messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    def said(self, name: str) -> list[str]:
        """Return every value that a name was given."""
        return [message[name] for message in self.messages() if name in message]

    def wait(self, name: str, *, count: int = 1, timeout_s: float = 20.0) -> dict[str, str]:
        """Wait until a name was said `count` times; return that message."""
        eventually(lambda: len(self.said(name)) >= count, timeout_s)
        return [message for message in self.messages() if name in message][count - 1]

    def wait_status(self, part: str, timeout_s: float = 20.0) -> str:
        """Wait until the latest status line has this in it; return the line."""
        return eventually(lambda: next((text for text in self.said("STATUS")[-1:] if part in text), ""), timeout_s)

    def catch_up(self) -> None:
        """Wait until all that was sent before this call has been read."""
        mark = str(len(self._messages))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(f"X_MARK={mark}".encode(), self._path)
        eventually(lambda: mark in self.said("X_MARK"))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last_word:
            last_word.sendto(b"", self._path)
        self._reader.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
