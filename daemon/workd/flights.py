"""The jobs that this daemon holds: everything between their fetch and the answer to their settlement.

Owned by the dispatcher. An entry is in the book from the moment its fetch was read until Redis has confirmed what
became of it, so that after a reconnect the daemon knows which of its pending entries it has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workd.tracing.lines import ids_in
from workd.wire import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workd.broker.entries import Entry
    from workd.broker.ops import Settlement
    from workd.kin import Following
    from workd.retry import Policy
    from workd.terms import Extras
    from workd.verdicts import Times
    from workd.wire import Envelope


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a queue no daemon has fetched yet, as of the last takeover pass: a second or two ago."""

    oldest_ms: int | None = None  # when the oldest of it came, by the server's clock; None: there is none
    jobs: int | None = None  # None: the server cannot tell


@dataclass(slots=True)
class Flight:
    """One job in this daemon's hands."""

    entry: Entry
    job_id: str
    envelope: Envelope | None = None  # without the arguments; None: its message could not be decoded
    policy: Policy | None = None
    timeout_s: float = 0.0
    result_ttl_s: float = 0.0
    pool_key: int = 0  # 0: not in the pool
    settlement: Settlement | None = None  # set once its end is decided
    complaint: str = ""  # why Redis would not take its settlement
    cancelled: bool = False  # its worker was killed since somebody cancelled it
    dropped: bool = False  # somebody else's now: whatever comes of it is ignored
    arguments: tuple[int, int] = (0, 0)  # where they stand in the message, if nobody has parsed them yet
    extras: Extras | None = None  # what few jobs ask for
    kin_ids: tuple[str, ...] = ()  # its group's and its chain's; not empty for each job that has one
    following: Following | None = None  # the next step of its chain, once it has succeeded
    run: Times | None = None  # its run here, once that is over
    status: Status = Status.SUCCEEDED  # what it has ended as, unless it is dead

    @property
    def task(self) -> str:
        """The name of its task, empty if nobody could read it."""
        return self.envelope.task if self.envelope is not None else ""

    @property
    def has_a_name(self) -> bool:
        """Whether Redis must be asked before it may run: it has an id or a key of its own, or was with a daemon before.

        Of what only waited in the stream nobody needs to ask: who cancels that takes it out.
        """
        envelope, entry = self.envelope, self.entry
        return (
            entry.id is not None
            or (envelope is not None and (envelope.id is not None or envelope.unique is not None))
            or bool(self.kin_ids)
            or entry.counters.takeovers > 0
        )

    @property
    def delivery(self) -> int:
        """Which run this is, from 1."""
        return self.entry.counters.runs + 1


@dataclass(slots=True)
class Book:
    """The flights of one queue, by entry id."""

    queue: str
    flights: dict[str, Flight] = field(default_factory=dict)

    def open(self, flight: Flight) -> None:
        """Write a flight down."""
        self.flights[flight.entry.entry_id] = flight

    def close(self, entry_id: str) -> None:
        """Forget a flight: Redis has confirmed its end."""
        self.flights.pop(entry_id, None)

    def knows(self, entry_id: str) -> bool:
        """Say whether this entry is in our hands already."""
        return entry_id in self.flights

    def job_ids(self) -> list[str]:
        """Return the ids of the jobs whose end is not decided yet, and of their groups and chains."""
        undecided = [flight for flight in self.flights.values() if flight.settlement is None]
        kin_ids = {kin_id for flight in undecided if flight.kin_ids for kin_id in flight.kin_ids}
        return [*(flight.job_id for flight in undecided), *kin_ids]

    def find(self, job_ids: frozenset[str]) -> Iterator[Flight]:
        """Yield the undecided flights of these jobs, groups and chains."""
        for flight in list(self.flights.values()):
            if flight.settlement is None and (flight.job_id in job_ids or not job_ids.isdisjoint(flight.kin_ids)):
                yield flight

    def drop(self, entry_ids: Iterable[str]) -> list[Flight]:
        """Forget these flights, since they are another daemon's now, and return them."""
        flights = [self.flights.pop(entry_id) for entry_id in entry_ids]
        for flight in flights:
            flight.dropped = True
        return flights


def about(flight: Flight, worker_pid: int = 0) -> dict[str, object]:
    """Return what every log line about a job carries."""
    facts: dict[str, object] = {"job_id": flight.job_id, "task": flight.task, "queue": flight.entry.queue}
    facts["delivery"] = flight.delivery
    if flight.envelope is not None and flight.envelope.trace:
        facts |= ids_in(flight.envelope.trace)
    return facts | {"worker_pid": worker_pid} if worker_pid else facts
