"""Which outcomes have come over the reply streams, and who waits for which.

Owned here: one table per client. Its reader (a thread or a task) delivers; handles and pool results take and
expect. Every method may be called from any thread. No I/O, and no callback runs under the lock.

Outcomes that came before anybody asked are kept, up to a number and a size; the oldest are dropped, since
`result:<id>` still has them. `mark` says whether that can have happened to a job: a mark that is the same
before the enqueue and now means that its outcome, if it has come, is in the table.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable

from workd.wire import Outcome, decode_outcome

OnOutcome = Callable[[Outcome], None]
JobKey = tuple[str, str]  # queue and id: an entry id is unique in its stream only

NOT_LIVE = 0
KEPT_OUTCOMES = 10_000
KEPT_BYTES = 32 << 20


def reply_name() -> str:
    """Make a name for a client's reply streams: where it lives, and 8 random hex digits."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}.{os.getpid()}.{secrets.token_hex(4)}"


class ReplyTable:
    """Outcomes on their way from the reader to those who wait."""

    def __init__(self) -> None:
        """Begin with no stream live."""
        self.name = reply_name()
        self._lock = threading.Lock()
        self._live: frozenset[str] = frozenset()
        self._epoch = 1
        self._kept: OrderedDict[JobKey, tuple[Outcome, int]] = OrderedDict()
        self._kept_bytes = 0
        self._waiting: dict[JobKey, list[OnOutcome]] = {}

    def mark(self, queue: str) -> int:
        """Say how far the table can be trusted for what is enqueued on `queue` from now on."""
        return self._epoch if queue in self._live else NOT_LIVE

    @property
    def live(self) -> frozenset[str]:
        """The queues whose reply streams are being read now."""
        return self._live

    def set_live(self, queues: frozenset[str], of: frozenset[str] | None = None) -> None:
        """Say which queues' reply streams are read from now on; called by the reader alone, for those `of` it."""
        with self._lock:
            live = queues if of is None else self._live - of | queues
            if live < self._live:
                self._epoch += 1  # marks taken while they were live are void
            self._live = live

    def take(self, key: JobKey) -> Outcome | None:
        """Give the outcome that has come for this job, once."""
        with self._lock:
            return self._take(key)

    def expect(self, key: JobKey, on_outcome: OnOutcome) -> None:
        """Call `on_outcome` once with the job's outcome: now if it has come, else from the reader."""
        with self._lock:
            outcome = self._take(key)
            if outcome is None:
                self._waiting.setdefault(key, []).append(on_outcome)
        if outcome is not None:
            on_outcome(outcome)

    def forget(self, key: JobKey, on_outcome: OnOutcome) -> None:
        """Wait no longer; harmless if the outcome has come."""
        with self._lock:
            callbacks = self._waiting.get(key, [])
            if on_outcome in callbacks:
                callbacks.remove(on_outcome)
            if not callbacks:
                self._waiting.pop(key, None)

    def deliver(self, key: JobKey, outcome: Outcome, size_bytes: int) -> None:
        """Hand an outcome to those who wait for it, or keep it."""
        with self._lock:
            callbacks = self._waiting.pop(key, None)
            if callbacks is None:
                self._keep(key, outcome, size_bytes)
                return
        for on_outcome in callbacks:
            on_outcome(outcome)

    def deliver_raw(self, queue: str, raw: bytes) -> None:
        """Deliver an outcome as Redis has it. Raises InvalidMessageError if it is none."""
        outcome = decode_outcome(raw)
        self.deliver((queue, outcome.id), outcome, len(raw))

    def waiting(self) -> dict[str, list[str]]:
        """List the ids that somebody waits for, by queue."""
        ids: dict[str, list[str]] = {}
        with self._lock:
            for queue, job_id in self._waiting:
                ids.setdefault(queue, []).append(job_id)
        return ids

    def _take(self, key: JobKey) -> Outcome | None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self._kept_bytes -= kept[1]
        return kept[0]

    def _keep(self, key: JobKey, outcome: Outcome, size_bytes: int) -> None:
        self._take(key)
        self._kept[key] = (outcome, size_bytes)
        self._kept_bytes += size_bytes
        while len(self._kept) > KEPT_OUTCOMES or self._kept_bytes > KEPT_BYTES:
            _, (_, dropped_bytes) = self._kept.popitem(last=False)
            self._kept_bytes -= dropped_bytes
            self._epoch += 1
