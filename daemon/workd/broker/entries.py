"""A stream entry as the daemon sees it, and how it is read from a reply of Redis. Pure.

Built by the session, read by the dispatcher. A producer writes field `m` (and `s`, a signature). An entry that the
daemon itself put back carries also `id`, `n` (the counters) and `t` (ms of its first enqueue). Nothing here may fail
on what a stranger wrote, nor pass on what no daemon would write: an unreadable or absurd field counts as missing, a
missing `m` keeps all fields for the dead letter.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from workd.retry import Counters

__all__ = ["Counters", "Entry", "from_claim", "from_read"]

MAX_MS: Final = 10**15 - 1
"""No time is greater, in ms: 15 digits reach over thirty thousand years."""
_MAX_COUNT: Final = 2**31 - 1
_MAX_COUNTERS_BYTES: Final = 128
_MAX_ID_BYTES: Final = 512
_MS_DIGITS: Final = len(str(MAX_MS))

_NEW: Final = Counters()

Fields = list[bytes]
Row = Sequence[bytes | Fields]
"""An entry in a RESP2 reply: its id, then field, value, field, value, …"""


class Entry(NamedTuple):
    """One entry of a queue's stream, in this daemon's hands."""

    queue: str
    entry_id: str
    message: bytes | None
    """Field `m`, byte for byte; None if there is none."""
    fields: dict[bytes, bytes] | None
    """All fields, only where `m` is missing."""
    id: str | None
    """The job's id where the entry carries it (it was put back); else the entry id or the message's own id is it."""
    counters: Counters
    """What has happened to the job; `takeovers` includes those that only the delivery counter of Redis knows."""
    enqueued_ms: int
    signature: bytes | None

    def fields_json(self) -> bytes:
        """Return the fields of an entry without `m` as JSON; what is not UTF-8 is written as escapes."""
        readable = {_text(name): _text(value) for name, value in (self.fields or {}).items()}
        return json.dumps(readable, ensure_ascii=False).encode()


def from_read(queue: str, rows: Iterable[Row]) -> list[Entry]:
    """Return the entries of one stream in the reply of a read: each delivered to us for the first time."""
    return [_entry(queue, row[0], row[1], 1) for row in rows]  # type: ignore[arg-type]  # as `Row` says


def from_claim(queue: str, rows: Iterable[tuple[bytes, int, Fields]]) -> list[Entry]:
    """Return entries that a script gave as (id, delivery count, fields)."""
    return [_entry(queue, entry_id, fields, deliveries) for entry_id, deliveries, fields in rows]


def _entry(queue: str, raw_id: bytes, fields: Fields, deliveries: int) -> Entry:
    entry_id = raw_id.decode()
    if len(fields) == 2 and fields[0] == b"m":  # noqa: PLR2004  (fresh from a producer: nearly all)
        counters = _NEW if deliveries <= 1 else Counters(takeovers=deliveries - 1)
        return Entry(queue, entry_id, fields[1], None, None, counters, _entry_ms(entry_id), None)
    named = dict(zip(fields[::2], fields[1::2], strict=False))
    message = named.get(b"m")
    return Entry(
        queue=queue,
        entry_id=entry_id,
        message=message,
        fields=named if message is None else None,
        id=_job_id(named.get(b"id", b"")),
        counters=_counters(named.get(b"n"), deliveries),
        enqueued_ms=_first_enqueue_ms(named.get(b"t", b""), entry_id),
        signature=named.get(b"s"),
    )


def _counters(text: bytes | None, deliveries: int) -> Counters:
    told = _NEW if text is None else _told_counters(text)
    return told if deliveries <= 1 else told._replace(takeovers=told.takeovers + deliveries - 1)


def _told_counters(text: bytes) -> Counters:
    if len(text) > _MAX_COUNTERS_BYTES:
        return _NEW
    try:
        told = Counters.decode(text)
    except ValueError:
        return _NEW  # not written by a daemon
    counts = (told.attempts, told.crashes, told.takeovers, told.handbacks, told.suspicions)
    return told if max(counts) <= _MAX_COUNT and told.unknown_since_ms <= MAX_MS else _NEW


def _job_id(raw: bytes) -> str | None:
    return _text(raw) if 0 < len(raw) <= _MAX_ID_BYTES else None


def _first_enqueue_ms(text: bytes, entry_id: str) -> int:
    return int(text) if text.isdigit() and len(text) <= _MS_DIGITS else _entry_ms(entry_id)


def _entry_ms(entry_id: str) -> int:
    return min(int(entry_id.partition("-")[0]), MAX_MS)  # a producer may have chosen the id


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
