"""Redis commands as tuples, and their answers."""

import pytest

from workd.client import commands
from workd.errors import ServerUnavailableError


def test_enqueuing_is_one_xadd_of_the_bytes() -> None:
    assert commands.add("default", b"{}") == ("XADD", "workd:{default}:stream", "*", "m", b"{}")


def test_many_messages_are_cut_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MESSAGES_PER_CALL", 2)
    monkeypatch.setattr(commands, "BYTES_PER_CALL", 10)
    assert list(commands.chunks([b"1", b"2", b"3"])) == [[b"1", b"2"], [b"3"]]
    assert list(commands.chunks([b"123456", b"123456", b"1"])) == [[b"123456"], [b"123456", b"1"]]
    assert list(commands.chunks([b"x" * 99])) == [[b"x" * 99]]
    assert list(commands.chunks([])) == []


def test_ids_are_looked_up_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "KEYS_PER_LOOK", 2)
    assert list(commands.id_chunks(["a", "b", "c"])) == [["a", "b"], ["c"]]


def test_a_reply_stream_is_trimmed_only_once_something_was_read() -> None:
    first, _ = commands.refresh("q", "me", None)
    assert "MINID" not in first
    later, expire = commands.refresh("q", "me", "5-0")
    assert later == ("XADD", "workd:{q}:reply:me", "MINID", "=", "5-0", "*", "w", "")
    assert expire == ("PEXPIRE", "workd:{q}:reply:me", 60_000)


def test_reading_waits_for_all_queues_each_from_its_place() -> None:
    assert commands.read("me", {"a": "1-0", "b": "2-0"}, 1.5)[3:] == (
        "BLOCK",
        1500,
        "STREAMS",
        "workd:{a}:reply:me",
        "workd:{b}:reply:me",
        "1-0",
        "2-0",
    )


def test_a_block_is_never_for_ever() -> None:
    assert commands.read("me", {"a": "1-0"}, 0.0)[4] == 1


def test_markers_and_outcomes_are_told_apart() -> None:
    answer = [[b"workd:{a}:reply:me", [[b"1-0", [b"w", b""]], [b"2-0", [b"m", b"{}"]]]]]
    assert list(commands.parse_read("me", ["a"], answer)) == [("a", "1-0", None), ("a", "2-0", b"{}")]
    assert list(commands.parse_read("me", ["a"], None)) == []


def test_the_script_is_sent_whole_only_when_asked_for() -> None:
    short = commands.add_many("q", [b"1"], whole_script=False)
    whole = commands.add_many("q", [b"1"], whole_script=True)
    assert (short[0], whole[0]) == ("EVALSHA", "EVAL")
    assert short[2:] == whole[2:] == (1, "workd:{q}:stream", 0, 0, b"1")
    assert "XADD" in str(whole[1])


def test_a_missing_group_is_known_from_the_refusal() -> None:
    error = ServerUnavailableError("refused")
    error.__cause__ = Exception("NOGROUP No such key")
    assert commands.is_no_group(error)
    assert not commands.is_no_group(ServerUnavailableError("gone"))
