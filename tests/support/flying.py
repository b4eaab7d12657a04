"""Entries and flights for unit tests, without Redis and without a pool."""

from typing import Any

from workd.broker.entries import Entry
from workd.flights import Flight
from workd.retry import Counters, Policy
from workd.wire import Envelope

QUEUE = "default"


def entry(entry_id: str = "1000-0", **said: Any) -> Entry:
    """Return an entry as a read gives it, with these fields changed."""
    fields: dict[str, Any] = {
        "queue": QUEUE,
        "message": b'{"task":"square"}',
        "fields": None,
        "id": None,
        "counters": Counters(),
        "enqueued_ms": 1000,
        "signature": None,
    }
    return Entry(entry_id=entry_id, **(fields | said))


def flight(entry_id: str = "1000-0", *, counters: Counters | None = None, **envelope: Any) -> Flight:
    """Return a job in this daemon's hands; `envelope` are the fields of its message."""
    message = Envelope(**({"task": "square"} | envelope))
    job = Flight(entry(entry_id, counters=counters or Counters()), message.id or entry_id, message, Policy())
    job.result_ttl_s = message.result_ttl or 0.0
    return job
