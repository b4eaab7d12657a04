"""A kept connection in trouble: answers in crumbs, signals, interrupts, bytes that nobody asked for."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import hiredis
import pytest

from support.scripted_server import SILENCE, ScriptedServer
from workd.client.link import Link
from workd.errors import EnqueueTimeoutError, ServerUnavailableError

ADD = ("XADD", "workd:{default}:stream", "*", "m", b"{}")
ID = b"$3\r\n1-0\r\n"


def test_an_answer_that_comes_in_crumbs_costs_the_deadline_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.client.connection._LEAST_TIMEOUT_S", 0.05)  # else this machine is late itself, at times
    with crumbs(b"$1000000\r\n" + b"x" * 1_000_000, every_s=0) as url:
        link = Link(url, 0.2)
        began = time.monotonic()
        with pytest.raises(EnqueueTimeoutError, match="whether it was run is not known"):
            link.call(ADD)
        assert 0.14 <= time.monotonic() - began < 5
        link.close()


@pytest.mark.parametrize("way", ["answers just in time", "one answer in crumbs"])
def test_an_introduction_costs_the_deadline_and_no_more(way: str) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            while not done.wait(0.3):
                connection.sendall(b"+OK\r\n" if way == "answers just in time" else b"+")

    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        link = Link(f"redis://:secret@127.0.0.1:{listener.getsockname()[1]}/1", 0.5)
        threading.Timer(8, done.set).start()  # else it would never end
        began = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=r"no connection .* was not sent$"):
            link.call(ADD)
        assert time.monotonic() - began < 5
        done.set()
        thread.join()


def test_an_answer_in_two_pieces_is_one_answer() -> None:
    with crumbs(b"$3\r\n1-0\r\n", every_s=0.02) as url:
        link = Link(url, 5.0)
        assert link.call(ADD) == b"1-0"
        link.close()


def test_signals_do_not_put_off_the_deadline() -> None:
    with ScriptedServer(lambda _: SILENCE) as server, alarms(every_s=0.02) as rung:
        link = Link(server.url, 0.3)
        began = time.monotonic()
        with pytest.raises(EnqueueTimeoutError):
            link.call(ADD)
        assert time.monotonic() - began < 10
        assert len(rung) > 2
        link.close()


def test_an_interrupt_in_mid_answer_takes_the_connection_with_it() -> None:
    answers = [SILENCE, ID]
    with ScriptedServer(lambda _: answers.pop(0)) as server:
        link = Link(server.url, 5.0)
        with pytest.raises(KeyboardInterrupt), alarms(every_s=0.1, raises=KeyboardInterrupt):
            link.call(ADD)
        assert link._idle == []
        assert link.call(ADD) == b"1-0"
        link.close()


@pytest.mark.parametrize("unasked", [b"$3\r\n9-9\r\n", b"-ERR too long idle\r\n"])
def test_what_comes_unasked_is_never_taken_for_the_next_answer(unasked: bytes) -> None:
    answers = [ID + unasked, b"$3\r\n2-0\r\n"]
    with ScriptedServer(lambda _: answers.pop(0)) as server:
        link = Link(server.url, 1.0)
        assert link.call(ADD) == b"1-0"
        assert link.call(ADD) == b"2-0"
        link.close()


def test_what_is_no_redis_is_told() -> None:
    with ScriptedServer(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        link = Link(server.url, 1.0)
        with pytest.raises(ServerUnavailableError, match="whether it was run is not known"):
            link.call(ADD)
        assert link._idle == []
        link.close()


@contextmanager
def crumbs(answer: bytes, every_s: float) -> Iterator[str]:
    """A server that answers the first command after the handshake like this, byte by byte."""
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        reader = hiredis.Reader()
        with connection, suppress(OSError):
            while not done.is_set() and (data := connection.recv(4096)):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    for crumb in [b"+OK\r\n"] if command[0] == b"CLIENT" else map(bytes, zip(answer, strict=True)):
                        connection.sendall(crumb)
                        if done.wait(every_s):
                            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        done.set()
        thread.join()


@contextmanager
def alarms(every_s: float, raises: type[BaseException] | None = None) -> Iterator[list[int]]:
    """Signals at short intervals, as a profiler sends them; yields those that came."""
    rung: list[int] = []

    def ring(number: int, _: object) -> None:
        rung.append(number)
        if raises is not None:
            raise raises

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, every_s, every_s if raises is None else 0)
    try:
        yield rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
