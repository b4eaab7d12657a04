"""One dead letter, and how it is read from what the script answers. Pure.

Made by `dead_letters.py`; the fields are those that `settle.lua` writes. Anybody may have written an entry, so nothing
in it is relied on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from workd import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_TIME_S: Final = 1e11
_MAX_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One job that did not succeed, and why. Its `entry_id` names it among the dead letters of its queue."""

    queue: str
    entry_id: str
    id: str
    """The job's id."""
    task: str
    reason: str
    """One of `workd.wire.DeadReason`."""
    error: wire.ErrorInfo | None
    attempts: int
    deliveries: int
    at: float
    """When it died, in epoch seconds."""
    message: bytes
    """Byte for byte what the producer sent, or its beginning: see `message_bytes`."""
    message_bytes: int
    entry: str | None
    """As JSON the fields of a stream entry that had no message."""
    signed: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON data; bytes of the message that are no UTF-8 are written as escapes."""
        return {
            "queue": self.queue,
            "entry_id": self.entry_id,
            "id": self.id,
            "task": self.task,
            "reason": self.reason,
            "error": None if self.error is None else self.error.model_dump(),
            "attempts": self.attempts,
            "deliveries": self.deliveries,
            "at": self.at,
            "message": self.message.decode(errors="backslashreplace"),
            "message_bytes": self.message_bytes,
            "entry": self.entry,
            "signed": self.signed,
        }


def read(queue: str, row: Sequence[Any]) -> DeadLetter:
    """Read a row of a list: id, bytes of the message, field, value, and so on."""
    entry_id, message_bytes, *pairs = row
    fields: dict[bytes, bytes] = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return DeadLetter(
        queue=queue,
        entry_id=entry_id.decode(),
        id=_text(fields, b"id"),
        task=_text(fields, b"task"),
        reason=_text(fields, b"reason"),
        error=_error(fields.get(b"error", b"")),
        attempts=_count(fields, b"attempts"),
        deliveries=_count(fields, b"deliveries"),
        at=_time(fields, entry_id),
        message=fields.get(b"m", b""),
        message_bytes=message_bytes,
        entry=_text(fields, b"entry") or None,
        signed=b"s" in fields,
    )


def _error(raw: bytes) -> wire.ErrorInfo | None:
    try:
        return wire.ErrorInfo.model_validate_json(raw)
    except ValidationError:  # not a daemon's writing
        return wire.ErrorInfo(type="", message=raw.decode(errors="backslashreplace")) if raw else None


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="backslashreplace")


def _count(fields: dict[bytes, bytes], name: bytes) -> int:
    raw = fields.get(name, b"")
    return int(raw) if raw.isdigit() and len(raw) <= _MAX_DIGITS else 0


def _time(fields: dict[bytes, bytes], entry_id: bytes) -> float:
    """Read when it died; what is no time that a calendar has is not a daemon's writing: then its entry tells."""
    try:
        told = float(fields.get(b"at", b""))
    except ValueError:
        told = -1.0
    return told if 0 <= told < _MAX_TIME_S else min(int(entry_id.partition(b"-")[0]) / 1000, _MAX_TIME_S)
