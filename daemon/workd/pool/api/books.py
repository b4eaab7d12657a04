"""Which calls of a local pool have no outcome yet: between the threads that call and the loop's thread.

    caller ── pending, incoming ──▶ loop ──▶ core
    caller ◀── Sink.settle ◀── pending.pop ◀── a result, a death, a cancellation, the end of the pool

Every call is in `pending` from its submission until somebody pops it, and whoever pops it decides its outcome. So each
has exactly one, whatever comes at the same time. Keys rise, and a sink knows its first and its last: to cancel one call
among many, nobody looks at the others. The ways in are deques, and taking something out of a deque or a
dictionary is atomic: there is no lock that a signal handler or a finalizer could find taken, wherever it interrupts a
caller.

Sinks are told in the loop's thread; once that has ended, by whoever comes, one at a time.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from workd.errors import CallCancelledError, PoolClosedError
from workd.pool.api import waiting

if TYPE_CHECKING:
    from workd.pool.api.admission import Admission
    from workd.pool.api.feeder import Feeder
    from workd.pool.api.outcomes import Outcome, Sink
    from workd.pool.api.waiting import Waiters
    from workd.pool.slot import Job

NOT_RUNNING = "Pool not running"  # the standard library's words


class Books:
    """The open calls of one pool."""

    def __init__(self, admission: Admission | None) -> None:
        """No call is open; `admission` limits how many may be."""
        self.pending: dict[int, Job] = {}
        self.incoming: deque[Job] = deque()  # on their way to the core
        self.revoked: deque[int] = deque()  # keys of jobs that the core is to stop
        self.feeders: set[Feeder] = set()
        self.closed = False  # iterables are read to their end, whether somebody reads the values or not
        self.ended = False  # nobody looks at what comes in any more
        self.admission = admission
        self._decided: deque[tuple[Sink, int, BaseException]] = deque()  # outcomes that the core has no part in
        self._telling = threading.RLock()  # whoever tells sinks what was decided
        _all_books.add(self)

    # ── called from any thread ──────────────────────────────────────────────────────────────────────────────────

    def enter(self, job: Job) -> None:
        """Open a call."""
        sink, key = job.ref[0], job.key
        if not sink.last_key:
            sink.first_key = key
        sink.last_key = key
        self.pending[key] = job
        self.incoming.append(job)

    def cancel(self, sink: Sink) -> bool:
        """Decide every call whose outcome is to go to `sink`; return whether there was one without an outcome."""
        claimed = [job for key in self._keys_of(sink) if (job := self.pending.pop(key, None)) is not None]
        self.revoked.extend(job.key for job in claimed)
        for job in claimed:
            self.leave()
            self.decide(
                sink, job.ref[1], CallCancelledError(f"{job.task}: cancelled by the program that made the call")
            )
        return bool(claimed)

    def decide(self, sink: Sink, number: int, error: BaseException) -> None:
        """Make an error the outcome of a call that is not pending; the loop tells its sink."""
        self._decided.append((sink, number, error))
        if self.ended:
            self.tell()

    def leave(self) -> None:
        """Let the next call in."""
        if self.admission is not None:
            self.admission.leave()

    def has_ended(self) -> bool:
        """Look again at `ended`, which another thread writes."""
        return self.ended

    def close(self) -> None:
        """Have no iterable wait for somebody who reads the values: whoever waits for the pool may never read them."""
        self.closed = True
        for feeder in self.feeders.copy():
            feeder.stream.release()

    def add_feeder(self, feeder: Feeder, failure: BaseException | None) -> None:
        """Wait for this one, too; `failure`: why the pool broke, if it did."""
        self.feeders.add(feeder)
        if self.closed:
            feeder.stream.release()
        if self.ended:
            self.stop_feeders(failure)

    def is_idle(self) -> bool:
        """Say whether no call is open, and none can come of an iterable that is being read."""
        return not (self.pending or self._decided or self.feeders)

    def _keys_of(self, sink: Sink) -> list[int]:
        """Return the keys of a sink's open calls; others' calls may lie between them."""
        pending, keys = self.pending, range(sink.first_key, sink.last_key + 1)
        if len(keys) <= len(pending):
            jobs = [job for key in keys if (job := pending.get(key)) is not None]
        else:  # a long imap
            jobs = list(pending.copy().values())
        return [job.key for job in jobs if job.ref[0] is sink]

    # ── the loop's thread ───────────────────────────────────────────────────────────────────────────────────────

    def take_incoming(self) -> list[Job]:
        """Return the calls that have come in, in order, without those that were cancelled before.

        Their keys may have been taken from `revoked` already, so that nobody else would stop them.
        """
        taken = [self.incoming.popleft() for _ in range(len(self.incoming))]
        return [job for job in taken if job.key in self.pending]

    def take_revoked(self) -> list[int]:
        """Return the keys of the calls that were cancelled."""
        return [self.revoked.popleft() for _ in range(len(self.revoked))]

    def settle(self, job: Job, outcome: Outcome) -> Waiters | None:
        """Give a call its outcome, unless it has one; return whom to wake for it."""
        if self.pending.pop(job.key, None) is None:
            return None  # cancelled: its sink knows
        sink, number = job.ref
        waiters: Waiters = sink.settle(number, outcome)
        if self.admission is not None:
            self.admission.leave()
        return waiters

    def tell(self) -> None:
        """Tell sinks what was decided elsewhere."""
        with self._telling:
            while self._decided:
                sink, number, error = self._decided.popleft()
                waiting.wake(sink.settle(number, error))

    def end(self, failure: BaseException | None) -> None:
        """Give every call that is left its outcome: from here on nobody else would."""
        self.ended = True
        while self.pending:
            with suppress(KeyError):  # taken back by its caller meanwhile
                _, job = self.pending.popitem()
                self._decided.append((*job.ref, closed_error(f"{job.task} has no outcome", failure)))
        self.incoming.clear()
        self.tell()
        self.stop_feeders(failure)
        if self.admission is not None:
            self.admission.let_go()

    def stop_feeders(self, failure: BaseException | None) -> None:
        """Have no iterable read any further."""
        for feeder in self.feeders.copy():
            feeder.stream.end(self.decide, closed_error("the rest of the iterable was not read", failure))


def closed_error(what: str, failure: BaseException | None) -> PoolClosedError:
    """Return what calls raise that the end of the pool leaves without an outcome; `failure`: why it broke, if so."""
    if failure is None:
        return PoolClosedError(f"{what}: the pool was terminated")
    error = PoolClosedError(f"{what}: the pool is broken and was stopped: {failure!r}")
    error.__cause__ = failure
    return error


_all_books: weakref.WeakSet[Books] = weakref.WeakSet()


def _disown_all() -> None:
    """Have the pools take no calls in a child that the host program forked: their threads are not there."""
    for books in list(_all_books):
        books.ended = True


os.register_at_fork(after_in_child=_disown_all)
