"""How an entry is read that anybody may have written."""

import pytest

from workd.broker.entries import MAX_MS, Entry, from_claim, from_read
from workd.retry import Counters

ENTRY_MS = 1_700_000_000_000


def read(**fields: bytes) -> Entry:
    flat = [word for name, value in fields.items() for word in (name.encode(), value)]
    [entry] = from_read("default", [(b"%d-0" % ENTRY_MS, [b"m", b"{}", *flat])])
    return entry


def test_what_a_daemon_wrote_is_read_as_it_was() -> None:
    entry = read(id=b"job", n=b"1 2 3 4 999999999999999", t=b"999999999999999", s=b"1:key:abc")
    assert (entry.message, entry.id, entry.signature) == (b"{}", "job", b"1:key:abc")
    assert entry.counters == Counters(1, 2, 3, 4, 999_999_999_999_999)
    assert entry.enqueued_ms == MAX_MS == 999_999_999_999_999


@pytest.mark.parametrize("text", [b"", b"1" * 16, b"9" * 5_000, b"-1", b"1.5", b"soon", b"\xff", "\u0661".encode()])
def test_a_time_of_enqueue_that_none_can_be_counts_as_missing(text: bytes) -> None:
    assert read(t=text).enqueued_ms == ENTRY_MS


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1 2 3",
        b"1 2 3 -4",
        b"a b c d",
        b"\xff",
        b"2147483648 0 0 0",
        b"0 2147483648 0 0",
        b"0 0 2147483648 0",
        b"0 0 0 2147483648",
        b"0 0 0 0 1000000000000000",
        b"0 0 0 0 0 2147483648",
        b"1 2 3 4" + b" " * 122,
        b"9" * 5_000 + b" 0 0 0",
    ],
)
def test_counters_that_no_daemon_would_write_count_as_none(text: bytes) -> None:
    assert read(n=text).counters == Counters()


def test_the_greatest_counters_are_still_read() -> None:
    assert read(n=b"2147483647 0 0 0").counters == Counters(attempts=2**31 - 1)
    assert read(n=b"1 2 3 4" + b" " * 121).counters == Counters(1, 2, 3, 4)


def test_what_redis_counted_is_added_to_absurd_counters_too() -> None:
    fields = [b"m", b"{}", b"n", b"9" * 500]
    [entry] = from_claim("default", [(b"1-0", 3, fields)])
    assert entry.counters == Counters(takeovers=2)


@pytest.mark.parametrize("raw", [b"", b"x" * 513, b"\xff" * 100_000])
def test_an_id_that_is_empty_or_huge_counts_as_missing(raw: bytes) -> None:
    assert read(id=raw).id is None


def test_an_id_of_128_characters_is_read_whatever_they_are() -> None:
    assert read(id=("😀" * 128).encode()).id == "😀" * 128


def test_an_entry_id_that_a_producer_chose_is_no_time_beyond_all_clocks() -> None:
    [entry] = from_read("default", [(b"18446744073709551615-7", [b"m", b"{}"])])
    assert (entry.entry_id, entry.enqueued_ms) == ("18446744073709551615-7", MAX_MS)
