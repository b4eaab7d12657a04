"""Short ways to put jobs into a queue and to look at what became of them, for the broker's tests."""

from typing import Any

from workd.broker import keys
from workd.broker.entries import Entry
from workd.broker.ops import Bury, Finish, Readd, Settlement
from workd.broker.session import Session, _Pass
from workd.retry import Counters

QUEUE = "default"
STREAM = keys.stream(QUEUE)
OUTCOME = b'{"v":1,"status":"succeeded"}'


def push(client: Any, *messages: bytes | str) -> list[str]:
    """Enqueue messages as any producer would and return their entry ids."""
    return [str(client.xadd(STREAM, {"m": message}), "ascii") for message in messages]


async def fetched(session: Session, client: Any, *messages: bytes | str) -> list[Entry]:
    """Enqueue messages and have the session fetch them."""
    push(client, *messages)
    entries = await session.fetch([QUEUE], len(messages), 0)
    assert len(entries) == len(messages)
    return entries


def finish(entry: Entry, **changes: object) -> Settlement:
    """Return a settlement of a job that succeeded and whose result is kept."""
    said = {"entry_id": entry.entry_id, "job_id": entry.id or entry.entry_id, "outcome": OUTCOME}
    return Finish(**(said | {"result_ttl_s": 60.0} | changes))  # type: ignore[arg-type]


def bury(entry: Entry, **changes: object) -> Settlement:
    """Return a settlement of a job that failed for good."""
    said: dict[str, object] = {
        "entry_id": entry.entry_id,
        "job_id": entry.id or entry.entry_id,
        "outcome": OUTCOME,
        "result_ttl_s": 60.0,
        "reply_to": None,
        "has_producer_id": False,
        "unique": None,
        "message": entry.message or b"",
        "entry_fields": None,
        "reason": "failed",
        "error": b'{"type":"ValueError"}',
        "task": "square",
        "attempts": 2,
        "deliveries": 3,
        "signature": entry.signature,
    }
    return Bury(**(said | changes))  # type: ignore[arg-type]


def readd(entry: Entry, **changes: object) -> Settlement:
    """Return a settlement of a job that is to run again."""
    said: dict[str, object] = {
        "entry_id": entry.entry_id,
        "job_id": entry.id or entry.entry_id,
        "message": entry.message,
        "counters": Counters(attempts=1),
        "enqueued_ms": entry.enqueued_ms,
        "signature": entry.signature,
    }
    return Readd(**(said | changes))  # type: ignore[arg-type]


def pending_ids(client: Any, consumer: str | None = None) -> list[str]:
    """Return the entry ids that are pending, for one consumer or for all."""
    rows = client.xpending_range(STREAM, keys.GROUP, "-", "+", 10_000, consumer)
    return [str(row["message_id"], "ascii") for row in rows]


def stream_ids(client: Any) -> list[str]:
    """Return the ids of all entries in the stream."""
    return [str(entry_id, "ascii") for entry_id, _ in client.xrange(STREAM)]


async def settled_in(session: Session) -> None:
    """Have the session believe that it has been looking for jobs to take over for a while: no quiet time is due."""
    session._passes[QUEUE] = _Pass(at_ms=await session.now_ms(), quiet_until_ms=0)


def expire_lease(client: Any, daemon_id: str) -> None:
    """Have a daemon's lease be over, as if it had not renewed for a lease."""
    client.hset(keys.leases(QUEUE), daemon_id, 1)
