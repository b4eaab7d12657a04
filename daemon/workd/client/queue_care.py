"""Looking after queues: which there are and how they are, throwing away what waits in one, moving it to another.

Made by `Admin`. Everything goes in slices that hold Redis up for some milliseconds at the most, and everything may end
in the middle: no job is lost by that. The scripts' headers say how.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from workd.broker import keys, queue_state
from workd.broker import queues as pauses
from workd.client import scripts
from workd.client.message import check_queue
from workd.errors import InvalidJobError
from workd_tasks.options import QUEUE_RULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workd.broker.queue_state import QueueState
    from workd.broker.queues import Paused
    from workd.client.scripts import Asks

SLICE: Final = 500
MOVE_SLICE: Final = 50
SLICE_BYTES: Final = 8 << 20
MOVER: Final = "move:"
MOVER_LEASE_MS: Final = 30_000
MARK_MS: Final = 3_600_000
_SCAN_COUNT: Final = 1_000
_KEY_RULE: Final = re.compile(rf"workd:\{{({QUEUE_RULE.pattern})\}}:(?:stream|inbox)")


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge has thrown away so far."""

    queued: int = 0
    scheduled: int = 0
    untold: int = 0
    """Outcomes that could not be written for those who wait."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move has moved so far."""

    queued: int = 0
    scheduled: int = 0
    doubled: int = 0
    """Of these, jobs that run in the old queue too: the move was held up so long that a daemon took them over."""
    stayed: int = 0
    """Members of groups, which stay where they are counted."""

    def plus(self, more: Moved) -> Moved:
        """Return both together."""
        return Moved(*(mine + its for mine, its in zip(astuple(self), astuple(more), strict=True)))


class QueueCare:
    """The queues of one Redis. Safe for threads."""

    def __init__(self, link: Asks) -> None:
        """Use `Admin.queues`."""
        self._link = link

    def names(self) -> list[str]:
        """List the queues that there are: those with a stream or an inbox. Looks through all keys of all servers."""
        return sorted({name for server in self._link.each() for name in _names_at(server)})

    def all(self) -> list[QueueState]:
        """Say how each queue is."""
        return [self.state(name) for name in self.names()]

    def state(self, queue: str) -> QueueState:
        """Say how one queue is; of one that there is not, all is 0."""
        check_queue(queue)
        names = queue_state.names_of(queue)
        return queue_state.read(queue, scripts.call(self._link, "queue_state", names, keys.GROUP, keys.WAITING))

    def pause(self, queue: str, reason: str = "", *, by: str = "", for_s: float | None = None) -> None:
        """Have no daemon start a job of this queue until it is resumed, or `for_s` seconds are over.

        What runs goes on; daemons hear of it within a second or two. A later pause replaces the former. Raises
        SettingsError for a span that is none.
        """
        check_queue(queue)
        self._link.call(pauses.pause_command(queue, reason, by=by, for_s=for_s))

    def resume(self, queue: str) -> Paused | None:
        """Have the daemons go on; return the pause that is over, None if there was none."""
        check_queue(queue)
        return pauses.read(self._link.call(pauses.resume_command(queue)))

    def fired(self, queue: str) -> dict[str, int]:
        """Say up to when each line of the schedule is done, in epoch seconds: its last fire time, or its beginning."""
        check_queue(queue)
        words = self._link.call(("HGETALL", keys.cron(queue)))
        is_map = isinstance(words, dict)  # as RESP3 has it
        marks = words.items() if is_map else zip(words[::2], words[1::2], strict=True)
        told = ((name.decode(errors="replace"), mark.partition(b" ")[0]) for name, mark in marks)
        return {name: int(at_s) for name, at_s in told if at_s.isdigit()}

    def purge(
        self,
        queue: str,
        *,
        queued: bool = True,
        scheduled: bool = True,
        progress: Callable[[Purged], object] = bool,
    ) -> Purged:
        """Throw away what has not started: what is queued (the inbox included), what is scheduled, or both.

        Whoever waits for one of these jobs is told that it was `cancelled`. What is running goes on; what comes while
        the purge goes on may stay. `progress` is called after each slice.
        """
        check_queue(queue)
        done = Purged()
        if queued:
            self._empty_inbox(queue)
            high = self._newest(queue)
            while high and (part := self._purge_slice(queue, "queued", high, SLICE))[0]:
                done = Purged(done.queued + part[0], 0, done.untold + part[1])
                progress(done)
        left = (self.state(queue).scheduled or 0) if scheduled else 0
        while left > 0 and (part := self._purge_slice(queue, "scheduled", "", min(left, SLICE)))[0]:
            left -= part[0]
            done = Purged(done.queued, done.scheduled + part[0], done.untold + part[1])
            progress(done)
        return done

    def move(self, queue: str, to: str, progress: Callable[[Moved], object] = bool) -> Moved:
        """Move what has not started to another queue, in its order; ids, counters and due times stay.

        Outcomes are then kept in the new queue: whoever waits for them in the old one waits in vain. Members of a group
        stay, at the end of the queue: their group is counted there. Safe to repeat after an interruption. What comes
        while it goes on may stay.
        """
        check_queue(queue)
        check_queue(to)
        if queue == to:
            raise InvalidJobError(f"{queue!r} cannot be moved to itself")
        done = self._move_scheduled(queue, to, progress)
        self._empty_inbox(queue)
        mover, newest = f"{MOVER}{secrets.token_hex(8)}", self._newest(queue)
        try:
            while newest and any(part := self._take(queue, mover, newest)):
                rows, stayed = part
                removed = 0
                if rows:
                    self._add(queue, to, rows)
                    removed = self._remove(queue, mover, [row[0] for row in rows])
                done = done.plus(Moved(len(rows), 0, len(rows) - removed, stayed))
                progress(done)
        finally:
            names = (keys.stream(queue), keys.leases(queue))
            scripts.call(self._link, "depart", names, keys.GROUP, mover)
        return done

    # ── purging ──

    def _empty_inbox(self, queue: str) -> None:
        names = (keys.inbox(queue), keys.stream(queue))
        while scripts.call(self._link, "move_inbox", names, SLICE, SLICE_BYTES):
            pass

    def _newest(self, queue: str) -> str:
        """Return the id of the last entry; empty if there is none."""
        rows = self._link.call(("XREVRANGE", keys.stream(queue), "+", "-", "COUNT", 1))
        return rows[0][0].decode() if rows else ""

    def _purge_slice(self, queue: str, what: str, high: str, most: int) -> tuple[int, int]:
        names = (keys.stream(queue), keys.scheduled(queue))
        limits = (high, most, SLICE_BYTES, keys.CLAIM_MS)
        purged, untold = scripts.call(
            self._link, "purge", names, what, keys.GROUP, keys.WAITING, keys.prefix(queue), *limits
        )
        return purged, untold

    # ── moving ──

    def _take(self, queue: str, mover: str, newest: str = "+") -> tuple[Sequence[Any], int]:
        names = (keys.stream(queue), keys.leases(queue))
        limits = (MOVER_LEASE_MS, MOVE_SLICE, SLICE_BYTES)
        claims = (newest, keys.prefix(queue), keys.CLAIM_MS)
        rows, stayed = scripts.call(
            self._link, "move_take", names, keys.GROUP, mover, *limits, MOVER, keys.WAITING, *claims
        )
        return rows, stayed

    def _add(self, queue: str, to: str, rows: Sequence[Any]) -> None:
        words: list[bytes | int] = []
        for entry_id, fields in rows:
            named = _named(entry_id, fields)
            words += (entry_id, len(named), *named)
        marks = f"{keys.prefix(to)}moved:{queue}:"
        scripts.call(self._link, "move_in", (keys.stream(to),), marks, MARK_MS, *words)

    def _remove(self, queue: str, mover: str, entry_ids: Sequence[bytes]) -> int:
        names = (keys.stream(queue), keys.leases(queue))
        terms = (keys.GROUP, mover, MOVER_LEASE_MS, keys.prefix(queue), keys.CLAIM_MS)
        removed: int = scripts.call(self._link, "move_out", names, *terms, *entry_ids)
        return removed

    def _move_scheduled(self, queue: str, to: str, progress: Callable[[Moved], object]) -> Moved:
        done, names = Moved(), (keys.scheduled(queue),)
        left = self.state(queue).scheduled or 0
        while left > 0:
            most = min(left, MOVE_SLICE)
            stayed, *rows = scripts.call(
                self._link, "move_later", names, "hold", MOVER_LEASE_MS, most, SLICE_BYTES, done.stayed
            )
            if not rows and not stayed:
                break
            members, scores, removed = rows[::2], rows[1::2], 0
            if members:
                pairs = (word for member, score in zip(members, scores, strict=True) for word in (score, member))
                self._link.call(("ZADD", keys.scheduled(to), "NX", *pairs))
                removed = scripts.call(
                    self._link, "move_later", names, "remove", keys.prefix(queue), keys.CLAIM_MS, *members
                )
            left -= len(members) + stayed
            done = done.plus(Moved(0, len(members), len(members) - removed, stayed))
            progress(done)
        return done


def _named(entry_id: bytes, fields: Sequence[bytes]) -> list[bytes]:
    """Add what an entry would lose with its place: the id that its producer was told, and when that was."""
    there = dict(zip(fields[::2], fields[1::2], strict=True))
    added: list[bytes] = []
    if b"m" in there and b"id" not in there:
        added += (b"id", _own_id(there[b"m"]) or entry_id)
    if b"m" in there and b"t" not in there:
        added += (b"t", entry_id.partition(b"-")[0])
    return [*fields, *added]


def _own_id(message: bytes) -> bytes:
    """Return the id that a message has itself; empty if it has none, or cannot be read."""
    try:
        told = from_json(message)
    except ValueError:
        return b""
    own = told.get("id") if isinstance(told, dict) else None
    return own.encode(errors="replace") if isinstance(own, str) else b""


def _names_at(server: Asks) -> Iterator[str]:
    cursor: Any = 0
    while True:
        # One pattern for both words, since each takes a walk through all keys.
        cursor, some = server.call(("SCAN", cursor, "MATCH", "workd:{*}:[is][nt]*", "COUNT", _SCAN_COUNT))
        hits = (_KEY_RULE.fullmatch(key.decode(errors="replace")) for key in some)
        yield from (hit.group(1) for hit in hits if hit is not None)
        if int(cursor) == 0:
            return
