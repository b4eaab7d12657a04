"""What has happened since the daemon started, counted in plain numbers. Read by `metrics`, when somebody asks.

Written where things happen, which for most jobs is one place: `settled`, once a batch that Redis has confirmed. So a
job's share of the counting is well under a microsecond, and what another daemon records is not counted here. The sets
of labels are bounded: the tasks of the catalogue, with one `other` for all else, and the queues of the settings.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from workd.broker.ops import Bury, Finish, Readd
from workd.pool.deaths import Killed, OverMemory, Suspected, TimedOut
from workd.wire import DeadReason, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workd.broker.entries import Entry
    from workd.clock import Clock
    from workd.flights import Flight
    from workd.pool.deaths import Lost, WorkerDied

OTHER: Final = "other"
"""The label of all that is no task of the catalogue: unknown names, and messages that nobody can read."""
MAX_TASKS: Final = 2_000
"""Tasks with a label of their own. Reloads may bring ever new names; what is over this is `other`."""
SPANS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)
ROUND_TRIPS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCHES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
CAUSES: Final = ("oom", "signal", "exit", "timeout", "memory_limit", "unknown")
"""Of a worker's death under a job."""


class Histogram:
    """How many values fell between bounds. `counts` has one place more than `bounds`, for what is above the last."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """A value that equals a bound is below it."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class TaskTally:
    """What has happened to the jobs of one task."""

    __slots__ = ("crashes", "ended", "retries", "runs", "waits")

    def __init__(self) -> None:
        """Nothing yet."""
        self.runs = Histogram(SPANS_S)
        self.waits = Histogram(SPANS_S)
        self.ended = dict.fromkeys(Status, 0)
        self.retries = 0
        self.crashes = dict.fromkeys(CAUSES, 0)


class QueueTally:
    """What has happened to the jobs of one queue."""

    __slots__ = ("dead", "deliveries", "handbacks", "leases_lost", "lost", "redeliveries")

    def __init__(self) -> None:
        """Nothing yet."""
        self.deliveries = 0
        self.redeliveries = 0
        self.handbacks = 0
        self.leases_lost = 0
        self.lost = 0
        self.dead = dict.fromkeys((reason.value for reason in DeadReason), 0)


class Tallies:
    """All counters of a daemon."""

    def __init__(self, queues: Iterable[str], clock: Clock) -> None:
        """`know` brings the tasks; `clock` has the server's time, by which jobs wait."""
        self.by_queue = {queue: QueueTally() for queue in queues}
        self._alone = next(iter(self.by_queue.values())) if len(self.by_queue) == 1 else None
        self.other = TaskTally()
        self.by_task: dict[str, TaskTally] = {OTHER: self.other}
        self.batches = Histogram(BATCHES)
        self.round_trips = Histogram(ROUND_TRIPS_S)
        self._clock = clock
        self._full_s = 0.0
        self._full_since: float | None = None
        self._waiting_for_room = 0
        self._shared_death: tuple[WorkerDied, set[str]] | None = None  # the last one, and the tasks it was counted for

    def know(self, tasks: Iterable[str]) -> None:
        """Give each of these tasks a label of its own. What earlier ones have counted stays."""
        for task in tasks:
            if len(self.by_task) > MAX_TASKS:
                return
            self.by_task.setdefault(task, TaskTally())

    def fetched(self, entries: Sequence[Entry]) -> None:
        """Count what came: from the stream, from the history or by a takeover."""
        if self._alone is not None:
            self._alone.deliveries += len(entries)
            return
        for entry in entries:
            self.by_queue[entry.queue].deliveries += 1

    def settled(self, flights: Sequence[Flight]) -> None:
        """Count a batch that Redis has confirmed."""
        self.batches.note(len(flights))
        by_task, other, offset_s, shortest_s = self.by_task, self.other, self._clock.offset_s, SPANS_S[0]
        for flight in flights:
            envelope, settlement, entry = flight.envelope, flight.settlement, flight.entry
            tally = other if envelope is None else by_task.get(envelope.task, other)
            run = flight.run
            if run is not None and (started_at := run.started_at) is not None and run.ended_at is not None:
                run_s, runs = run.ended_at - started_at, tally.runs
                # Where counting costs most, jobs are short.
                runs.counts[0 if run_s <= shortest_s else bisect_left(SPANS_S, run_s)] += 1
                runs.total += run_s
                since_ms = entry.enqueued_ms if entry.id is None else _ms_of(entry)
                wait_s = started_at + offset_s - since_ms / 1000
                if wait_s < 0.0:  # noqa: PLR1730 - clocks agree to some milliseconds; `max` takes three times as long
                    wait_s = 0.0
                waits = tally.waits
                waits.counts[bisect_left(SPANS_S, wait_s)] += 1
                waits.total += wait_s
            if type(settlement) is Finish:
                tally.ended[flight.status] += 1
            else:
                self._note_rest(flight, tally)

    def _note_rest(self, flight: Flight, tally: TaskTally) -> None:
        """Count what few jobs come to."""
        settlement, queue = flight.settlement, self.by_queue[flight.entry.queue]
        if isinstance(settlement, Bury):
            tally.ended[Status.DEAD] += 1
            queue.dead[settlement.reason] += 1
        elif isinstance(settlement, Readd):
            before, after = flight.entry.counters, settlement.counters
            if after.attempts > before.attempts or after.crashes > before.crashes:
                tally.retries += 1
            elif settlement.due_ms is None:
                queue.handbacks += 1

    def lost(self, task: str, how: Lost) -> None:
        """Count the death of a worker under a job; one under several jobs of a task is still one."""
        if (cause := cause_of(how)) is not None and not (isinstance(how, Suspected) and self._is_counted(task, how)):
            self.by_task.get(task, self.other).crashes[cause] += 1

    def _is_counted(self, task: str, how: Suspected) -> bool:
        """Say whether this death has been counted for the task; from now on it is. Its jobs come one after another."""
        if self._shared_death is None or self._shared_death[0] is not how.died:
            self._shared_death = how.died, set()
        tasks = self._shared_death[1]
        before = len(tasks)
        tasks.add(task)
        return len(tasks) == before

    # ── saturation ──────────────────────────────────────────────────────────────────────────────────────────────

    def wait_for_room(self, now: float) -> None:
        """Note that a fetcher waits since there is no room; `now` is loop time. Each is followed by `go_on`."""
        self._waiting_for_room += 1
        if self._full_since is None:
            self._full_since = now

    def go_on(self, now: float) -> None:
        """Note that a fetcher waits no more. With several, the daemon is full while any of them waits."""
        self._waiting_for_room -= 1
        if not self._waiting_for_room and self._full_since is not None:
            self._full_s += now - self._full_since
            self._full_since = None

    def full_s(self, now: float) -> float:
        """Return for how long, in all, there has been no room for further jobs."""
        return self._full_s + (0.0 if self._full_since is None else now - self._full_since)


def cause_of(how: Lost) -> str | None:
    """Return the label of a death, one of `CAUSES`; None if the daemon had its own reason for it (drain, cancel)."""
    match how:
        case Killed():
            return None
        case TimedOut():
            return "timeout"
        case OverMemory():
            return "memory_limit"
    died = how.died
    if died.oom:
        return "oom"
    if not died.status_known:
        return "unknown"
    return "exit" if died.signal is None else "signal"


def _ms_of(entry: Entry) -> int:
    """Return when an entry that was put back came into the stream: before that it waited by intention."""
    return int(entry.entry_id.partition("-")[0])
