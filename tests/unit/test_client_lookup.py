"""Names that are looked up within a deadline."""

import os
import socket
import threading
from typing import Any

import pytest

from support.waiting import eventually
from workd.client import lookup
from workd.client.connection import Deadline
from workd.client.lookup import addresses, is_address


class Resolver:
    """Stands in for the C library's: answers nothing until it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.let = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.answer)

    def answer(self, host: str, port: int, kind: int, *_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self.let.wait()
        if host == "none.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        if host == "odd.test":
            raise UnicodeError("label too long")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Any:
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.let.set()
    eventually(lambda: not lookup._under_way)


def test_addresses_need_no_lookup() -> None:
    assert is_address("127.0.0.1")
    assert is_address("::1")
    assert not is_address("localhost")
    assert [found.where for found in addresses("127.0.0.1", 80, 0, Deadline(20))] == [("127.0.0.1", 80)]


def test_all_who_ask_for_a_name_meanwhile_get_one_answer(resolver: Resolver) -> None:
    answers: list[Any] = []
    askers = [
        threading.Thread(target=lambda: answers.append(addresses("some.test", 80, 0, Deadline(20)))) for _ in range(5)
    ]
    for asker in askers:
        asker.start()
    eventually(lambda: resolver.asked)
    resolver.let.set()
    for asker in askers:
        asker.join()
    assert [[found.where for found in answer] for answer in answers] == [[("127.0.0.1", 80)]] * 5
    again = len(resolver.asked)
    addresses("some.test", 80, 0, Deadline(20))
    assert len(resolver.asked) == again + 1  # nothing is kept: a name may move


def test_a_lookup_that_hangs_costs_the_deadline_and_no_second_thread(resolver: Resolver) -> None:
    for _ in range(3):
        with pytest.raises(OSError, match=r"looking up the name some\.test took longer than the deadline"):
            addresses("some.test", 80, 0, Deadline(0.01))
    eventually(lambda: resolver.asked)
    assert resolver.asked == ["some.test"]


@pytest.mark.parametrize(("host", "says"), [("none.test", "no such name"), ("odd.test", "cannot be a host's name")])
def test_what_the_resolver_says_is_told(resolver: Resolver, host: str, says: str) -> None:
    resolver.let.set()
    with pytest.raises(OSError, match=says):
        addresses(host, 80, 0, Deadline(20))


def test_where_no_thread_is_to_be_had_the_caller_looks_it_up(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    resolver.let.set()
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert addresses("some.test", 80, 0, Deadline(20))


def test_a_forked_child_waits_for_no_lookup_of_its_parent(resolver: Resolver) -> None:
    with pytest.raises(OSError, match="longer than the deadline"):
        addresses("some.test", 80, 0, Deadline(0.01))
    eventually(lambda: resolver.asked)
    if (pid := os.fork()) == 0:
        code = 1
        try:
            resolver.let = threading.Event()  # a lock of the parent's thread is in the old one
            resolver.let.set()
            code = 0 if addresses("some.test", 80, 0, Deadline(20)) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
