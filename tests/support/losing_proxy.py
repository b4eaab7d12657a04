"""A way to a server on which answers get lost: what was sent is done, and the sender is not told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from support.servers import Server

SILENT, CUT = "silent", "cut"
_STEP_S = 0.02


class LosingProxy:
    """Relays to a server. Of the next `lose()` commands that hold a certain word, the answer never comes back."""

    def __init__(self, server: Server) -> None:
        self.carried = 0  # commands with the word that have reached the server and were answered
        self._server = server
        self._losses = 0
        self._word = b""
        self._how = CUT
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_STEP_S)
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def lose(self, count: int, word: bytes, how: str = CUT) -> None:
        """Lose so many answers from now on: by closing the connection, or in silence."""
        self._losses, self._word, self._how = count, word, how

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._relay, args=(near,))
                self._threads.append(thread)
                thread.start()

    def _relay(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._server.port)) as far:
            near.settimeout(_STEP_S)
            far.settimeout(_STEP_S)
            lost = ""
            while not self._closed.is_set() and lost != CUT:
                if (sent := _received(near)) == b"" or (back := _received(far)) == b"":
                    return
                if sent is not None:
                    far.sendall(sent)
                    if self._losses > 0 and self._word and self._word in sent:
                        self._losses -= 1
                        self._answered(far)
                        lost = self._how
                        continue
                if back is not None and not lost:
                    near.sendall(back)

    def _answered(self, far: socket.socket) -> None:
        """Wait until the server has done what it was sent."""
        while not self._closed.is_set():
            if _received(far) is not None:
                self.carried += 1
                return


def _received(sock: socket.socket) -> bytes | None:
    """Return what has come, nothing at the end, None if there is nothing yet."""
    try:
        return sock.recv(1 << 20)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""
