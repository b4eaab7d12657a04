"""What a client knows of several servers, and when it may send a command to another one."""

from __future__ import annotations

from typing import Any

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from workd import redis_url
from workd.broker import keys
from workd.broker.slots import read_slots, slot_of
from workd.client import commands
from workd.client import places as module
from workd.client.link import refused, unanswered, unreachable
from workd.client.places import Places, pause_before_again_s

COMMAND = commands.add("default", b"{}")
URL = "redis+cluster://me:pw@a:1,b:2"
HALVES: Any = [[0, 8191, [b"a", 1, b"id"]], [8192, 16383, [b"b", 2, b"id"], [b"c", 3, b"id"]]]


def places(url: str) -> Places:
    several = redis_url.several(url)
    assert several is not None
    return Places(several)


def test_a_command_goes_to_the_node_that_has_the_slot_of_its_key() -> None:
    known = places(URL)
    assert known.url_for(COMMAND) is None  # nobody has been asked yet
    known.learn(HALVES, "a")
    host = "a:1" if slot_of(keys.stream("default")) < 8192 else "b:2"
    for command in (
        COMMAND,
        commands.result("default", "x"),
        commands.results("default", ["x", "y"]),
        commands.add_many("default", [b"{}"], whole_script=False),
        commands.add_many("default", [b"{}"], whole_script=True),
        commands.wake("default", "name"),
        commands.read("name", {"default": "0"}, 1.0),
    ):
        assert known.url_for(command) == f"redis://me:pw@{host}/0"


def test_what_has_no_key_goes_somewhere() -> None:
    known = places(URL)
    known.learn(HALVES, "a")
    assert known.url_for(("PING",))
    assert known.url_for(("WAITAOF", 1, 0, 1))


def test_nodes_that_were_heard_of_are_seeds_also_when_their_slots_are_forgotten() -> None:
    known = places("redis+cluster://seed:7")
    known.learn(HALVES, "seed")
    known.forget()
    assert known.url_for(COMMAND) is None
    assert {url for _, url in known.seeds()} == {"redis://seed:7/0", "redis://a:1/0", "redis://b:2/0"}


@pytest.mark.parametrize("name", [None, b"", b"?"])
def test_a_node_without_a_name_is_where_we_have_asked(name: bytes | None) -> None:
    assert read_slots([[0, 16383, [name, 7000, b"id"]]], "here") == [(0, 16383, ("here", 7000))]


def test_the_word_of_the_sentinels_is_believed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    known = places("redis+sentinel://s:1,t:2/mymaster/3")
    assert known.question() == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    assert known.learn(None, "s") == "knows no master of the name 'mymaster'"
    assert known.learn([b"m", b"6379"], "s") is None
    assert known.url_for(COMMAND) == known.last_url() == "redis://m:6379/3"
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    assert known.url_for(COMMAND) is None
    assert known.last_url() == "redis://m:6379/3"
    known.forget()
    assert known.last_url() is None


def test_only_what_was_certainly_not_carried_out_is_sent_to_another_server() -> None:
    def caused(made: Exception, cause: Exception) -> Exception:
        made.__cause__ = cause
        return made

    moved = BaseParser.parse_error("MOVED 1 a:1")  # type: ignore[no-untyped-call]
    for code in ("MOVED 1 a:1", "ASK 1 a:1", "READONLY x", "CLUSTERDOWN x", "MASTERDOWN x", "TRYAGAIN x"):
        error = ResponseError(code)
        assert pause_before_again_s(caused(refused(COMMAND, error, URL), error)) is not None
    assert pause_before_again_s(caused(refused(COMMAND, moved, URL), moved)) == 0.0
    assert pause_before_again_s(caused(refused(COMMAND, moved, URL), moved), moved_before=True) == module._PAUSE_S
    for other in ("WRONGTYPE x", "OOM x", "NOPERM x", "ERR x"):
        error = ResponseError(other)
        assert pause_before_again_s(caused(refused(COMMAND, error, URL), error)) is None
    lost = RedisConnectionError("refused")
    assert pause_before_again_s(caused(unreachable(COMMAND, lost, URL), lost)) is not None
    assert pause_before_again_s(caused(unanswered(COMMAND, lost, URL, 1.0), lost)) is None
    stranger = AuthenticationError("invalid password")
    assert pause_before_again_s(caused(unreachable(COMMAND, stranger, URL), stranger)) is None
    assert pause_before_again_s(caused(unanswered(COMMAND, TimeoutError(), URL, 1.0), TimeoutError())) is None
