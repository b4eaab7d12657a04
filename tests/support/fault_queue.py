"""What the fault tests see of a queue from outside: as a producer, as a person with redis-cli, and in the journal.

Every job is pushed with a `reply_to`, and each outcome that is recorded adds one entry to that stream: so a job that
were recorded twice would be seen here, where `result:<id>` shows the last one alone.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from support.waiting import eventually
from workd.broker import keys

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

QUEUE = "default"
STREAM = keys.stream(QUEUE)
REPLIES = "test"


@dataclass(frozen=True, slots=True)
class Run:
    """One line of the journal: a task that says it has begun, or ended."""

    event: str
    id: str
    pid: int
    delivery: int
    attempt: int
    at: float
    child: int | None = None


class FaultQueue:
    """A queue on a server and the journal of its tasks."""

    def __init__(self, server: Server, folder: Path) -> None:
        """`folder` is the one that the daemons' tasks use, too."""
        self.server = server
        self.folder = folder
        self.client: Any = server.client()  # redis-py allows every reply every type
        self._listen()

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def flush(self) -> None:
        """Remove all data, as somebody with redis-cli does."""
        self.client.flushall()
        self._listen()

    def _listen(self) -> None:
        self.client.xgroup_create(keys.reply(QUEUE, REPLIES), "test", mkstream=True)

    # ── as a producer ───────────────────────────────────────────────────────────────────────────────────────────

    def push(self, task: str, *args: object, **fields: object) -> str:
        """Enqueue one job and return its id."""
        return self.push_raw(message(task, *args, **fields))

    def push_raw(self, raw: bytes | str) -> str:
        """Enqueue bytes as they are and return the entry's id."""
        return _text(self.client.xadd(STREAM, {"m": raw}))

    def push_together(self, *messages: bytes) -> list[str]:
        """Enqueue messages in one transaction: whoever reads, sees all of them or none."""
        pipe = self.client.pipeline(transaction=True)
        for raw in messages:
            pipe.xadd(STREAM, {"m": raw})
        return [_text(entry_id) for entry_id in pipe.execute()]

    def open_gate(self, name: str) -> None:
        """Let the tasks that wait at this gate go on."""
        (self.folder / name).touch()

    # ── what became of it ───────────────────────────────────────────────────────────────────────────────────────

    def outcomes(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Return every outcome that was recorded, in order: of all jobs or of one."""
        rows = self.client.xrange(keys.reply(QUEUE, REPLIES))
        found = [json.loads(fields[b"m"]) for _, fields in rows]
        return [outcome for outcome in found if job_id in (None, outcome["id"])]

    def outcome(self, job_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait for a job's outcome, and see that it is the only one and the one that `result:<id>` holds."""
        found = eventually(lambda: self.outcomes(job_id), timeout_s)
        assert len(found) == 1, f"more than one outcome was recorded: {found}"
        kept: Any = self.client.get(keys.result(QUEUE, job_id))
        assert kept is None or json.loads(kept) == found[0]
        return found[0]

    def succeeded(self, job_id: str, timeout_s: float = 30.0, **fields: object) -> dict[str, Any]:
        """Wait for a job's outcome, which has to be a success with these fields."""
        return self.ended(job_id, timeout_s, status="succeeded", **fields)

    def ended(self, job_id: str, timeout_s: float = 30.0, **fields: object) -> dict[str, Any]:
        """Wait for a job's outcome, which has to have these fields."""
        outcome = self.outcome(job_id, timeout_s)
        assert outcome | fields == outcome, f"wanted {fields}, got {outcome}"
        return outcome

    def all_ended(self, job_ids: list[str], timeout_s: float = 60.0) -> dict[str, dict[str, Any]]:
        """Wait for the outcomes of many jobs, and see that each has exactly one; return them by id."""
        wanted = set(job_ids)
        eventually(lambda: wanted <= {outcome["id"] for outcome in self.outcomes()}, timeout_s)
        outcomes = self.outcomes()
        by_id = {outcome["id"]: outcome for outcome in outcomes}
        twice = [one for one in outcomes if one is not by_id[one["id"]]]
        assert not twice, f"a job has more than one outcome: {[(one, by_id[one['id']]) for one in twice[:3]]}"
        return {job_id: by_id[job_id] for job_id in job_ids}

    def warm_up(self, task: str, count: int = 200) -> None:
        """Have the daemon learn that a task takes no time, so that it hands over many of them at once."""
        self.all_ended(self.push_together(*[message(task)] * count))

    def dead_letters(self, job_id: str | None = None) -> list[dict[str, bytes]]:
        """Return the dead letters, with their fields' names as text: all of them or one job's."""
        rows = self.client.xrange(keys.dead(QUEUE))
        letters = [{_text(name): value for name, value in fields.items()} for _, fields in rows]
        return [letter for letter in letters if job_id is None or letter["id"] == job_id.encode()]

    def dead_letter(self, job_id: str, timeout_s: float = 30.0) -> dict[str, bytes]:
        """Wait for a job's dead letter, and see that it is the only one."""
        found = eventually(lambda: self.dead_letters(job_id), timeout_s)
        assert len(found) == 1, f"more than one dead letter was written: {found}"
        return found[0]

    # ── what the tasks say ──────────────────────────────────────────────────────────────────────────────────────

    def runs(self, job_id: str | None = None, event: str = "start") -> list[Run]:
        """Return the runs that have begun (or had another event): of all jobs or of one."""
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        runs = [Run(**json.loads(line)) for line in lines]
        return [run for run in runs if run.event == event and job_id in (None, run.id)]

    def run(self, job_id: str, number: int = 1, timeout_s: float = 30.0) -> Run:
        """Wait until a job has begun its run of this number, and return that."""
        runs = eventually(lambda: len(runs := self.runs(job_id)) >= number and runs, timeout_s)
        assert runs
        return runs[number - 1]

    # ── what is in Redis ────────────────────────────────────────────────────────────────────────────────────────

    def pending(self, consumer: str | None = None) -> list[str]:
        """Return the entries that a daemon (or any) has fetched and not settled."""
        try:
            rows = self.client.xpending_range(STREAM, keys.GROUP, "-", "+", 100_000, consumer)
        except redis.ResponseError:
            return []  # no stream, no group
        return [_text(row["message_id"]) for row in rows]

    def entries(self) -> list[dict[str, bytes]]:
        """Return the entries of the stream: whatever has not ended and is not scheduled."""
        return [{_text(name): value for name, value in fields.items()} for _, fields in self.client.xrange(STREAM)]

    def leases(self) -> set[str]:
        """Return the daemons that have a lease."""
        return {_text(name) for name in self.client.hkeys(keys.leases(QUEUE))}

    def consumers(self) -> set[str]:
        """Return the daemons that Redis keeps as consumers."""
        return {_text(row["name"]) for row in self.client.xinfo_consumers(STREAM, keys.GROUP)}

    def assert_empty(self) -> None:
        """See that nothing is queued, running or scheduled any more."""
        eventually(lambda: not self.entries())
        assert not self.pending()
        assert not self.client.zcard(keys.scheduled(QUEUE))

    def kill_connections(self, daemon_id: str | None = None) -> int:
        """Cut the connections of one daemon, or of all; return how many there were."""
        name = "workd:" if daemon_id is None else f"workd:{daemon_id}"
        victims = [row["id"] for row in self.client.client_list() if row["name"].startswith(name)]
        return sum(self.client.client_kill_filter(_id=victim) for victim in victims)


def message(task: str, *args: object, **fields: object) -> bytes:
    """Return a message whose outcome is sent to the test."""
    return json.dumps({"task": task, "args": args, "reply_to": REPLIES} | fields).encode()


def seconds_since(moment: float) -> float:
    """Return the time since an epoch time that a journal line gave."""
    return time.time() - moment


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
