"""A server that speaks RESP and answers as a test says: also never, or by hanging up."""

import socket
import threading
from collections.abc import Callable
from typing import Any, Self

import hiredis

Answer = bytes | None
HANG_UP: Answer = None
SILENCE = b""


class ScriptedServer:
    """Asks `answer` for each command: bytes to send, SILENCE, or HANG_UP. Handshakes are answered by themselves."""

    def __init__(self, answer: Callable[[list[bytes]], Answer]) -> None:
        self.commands: list[list[bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

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
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        with connection:
            connection.settimeout(0.05)
            while not self._closed.is_set():
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return
                if not data or not self._feed(connection, reader, data):
                    return

    def _feed(self, connection: socket.socket, reader: Any, data: bytes) -> bool:
        reader.feed(data)
        while (command := reader.gets()) is not False:
            if command[0] == b"CLIENT":
                connection.sendall(b"+OK\r\n")
                continue
            self.commands.append(command)
            answer = self._answer(command)
            if answer is None:
                return False
            connection.sendall(answer)
        return True
