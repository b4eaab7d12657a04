"""The enqueue script: all or none, and once however often the same call is sent."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import redis

from workd.broker import keys

if TYPE_CHECKING:
    from support.stores import Store

STREAM, MARKER = keys.stream("default"), keys.call("default", "lane")
SCRIPT = files("workd.client").joinpath("enqueue.lua").read_text()


def call(store: Store, number: int, *messages: bytes, marker: str | None = MARKER) -> list[bytes]:
    """Send one call and return the ids that it got."""
    with store.client() as client:
        named = [STREAM] if marker is None else [STREAM, marker]
        answer: Any = client.eval(SCRIPT, len(named), *named, number, 60_000, *messages)
        return list(answer)


def entries(store: Store) -> list[tuple[bytes, bytes]]:
    """Return id and message of all that is queued."""
    with store.client() as client:
        rows: Any = client.xrange(STREAM)
        return [(entry_id, fields[b"m"]) for entry_id, fields in rows]


def test_messages_are_queued_in_order_and_their_ids_answered(store: Store) -> None:
    ids = call(store, 1, b"a", b"b", b"c")
    assert entries(store) == list(zip(ids, [b"a", b"b", b"c"], strict=True))


def test_the_same_call_sent_again_adds_nothing_and_gets_the_same_ids(store: Store) -> None:
    ids = call(store, 1, b"a", b"b")
    with store.client() as client:
        client.pexpire(MARKER, 1_000)
        assert call(store, 1, b"a", b"b") == ids
        assert client.pttl(MARKER) > 30_000
    assert len(entries(store)) == 2


def test_the_next_call_of_the_place_is_another_one(store: Store) -> None:
    first = call(store, 9, b"a")
    second = call(store, 10, b"a")  # as text, "10" would be less than "9"
    assert [entry_id for entry_id, _ in entries(store)] == first + second
    assert call(store, 10, b"a") == second


def test_a_call_that_comes_after_its_successor_is_refused(store: Store) -> None:
    call(store, 2, b"a")
    with pytest.raises(redis.ResponseError, match="STALE"):
        call(store, 1, b"b")
    assert [message for _, message in entries(store)] == [b"a"]


def test_without_a_marker_every_call_is_a_new_one(store: Store) -> None:
    call(store, 0, b"a", marker=None)
    call(store, 0, b"a", marker=None)
    assert len(entries(store)) == 2
    with store.client() as client:
        assert client.keys("workd:*") == [STREAM.encode()]


@pytest.mark.parametrize("wrong", [STREAM, MARKER])
def test_a_key_of_another_type_is_left_alone_and_nothing_is_queued(store: Store, wrong: str) -> None:
    with store.client() as client:
        client.hset(wrong, "mine", "1")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            call(store, 1, b"a")
        assert client.keys("workd:*") == [wrong.encode()]


def test_a_marker_that_somebody_else_wrote_does_not_stand_in_the_way(store: Store) -> None:
    with store.client() as client:
        client.set(MARKER, "somebody else's")
        [entry_id] = call(store, 1, b"a")
        assert entries(store) == [(entry_id, b"a")]


def test_a_producer_that_may_not_write_markers_is_not_told_that_nothing_was_done(real_store: Store) -> None:
    assert real_store.server is not None
    with real_store.client() as client:
        client.execute_command("ACL", "SETUSER", "lean", "on", "nopass", "~*", "+eval", "+xadd", "+get", "+pexpire")
        try:
            with redis.Redis(port=real_store.server.port, username="lean", password="x", protocol=2) as lean:
                assert lean.eval(SCRIPT, 2, STREAM, MARKER, 1, 60_000, b"a")
        finally:
            client.execute_command("ACL", "DELUSER", "lean")
    assert len(entries(real_store)) == 1
