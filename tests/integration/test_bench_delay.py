"""The delay proxy of the benchmarks: late by a round trip, whole, and no slower than what it carries."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.curves.delay import delayed

ROUND_TRIP_MS = 40.0


@contextmanager
def echo() -> Iterator[int]:
    """Send back what comes, to one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while piece := connection.recv(1 << 16):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)


@pytest.fixture
def through() -> Iterator[socket.socket]:
    with (
        echo() as target,
        delayed(target, ROUND_TRIP_MS) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        yield connection


def read_all(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size and (part := connection.recv(min(size, 1 << 16))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def test_an_answer_comes_a_round_trip_later(through: socket.socket) -> None:
    start = time.monotonic()
    through.sendall(b"ping")
    assert read_all(through, 4) == b"ping"
    assert time.monotonic() - start >= ROUND_TRIP_MS / 1000


def test_much_arrives_whole_and_in_order(through: socket.socket) -> None:
    sent = os.urandom(4 << 20)
    sending = threading.Thread(target=through.sendall, args=(sent,))
    sending.start()
    assert read_all(through, len(sent)) == sent
    sending.join()


def test_an_end_travels_too(through: socket.socket) -> None:
    through.sendall(b"last")
    through.shutdown(socket.SHUT_WR)
    assert read_all(through, 100) == b"last"
