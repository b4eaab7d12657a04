"""The calls of the daemon about jobs: everything that it asks of Redis, queue by queue.

Made by the supervisor from nothing and closed whole when anything on it fails; then a new one is made. The dispatcher
calls it and holds all state about jobs; the session keeps nothing but its connections (connections.py) and, for each
queue, when it last looked for jobs to take over.

Every method raises `BrokerUnavailableError` (close the session, make a new one), `WrongKeyTypeError` (a person has to
look) or `BrokerError` (the command is named), and nothing else. A call that is cancelled takes its connection with it.
It must never run a job, decide about one, or write a key except through a script or a command named here.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import OutOfMemoryError, ResponseError

from workd.broker import entries, faults, keys, ops, permits, queues, scripts
from workd.broker.connections import Connections
from workd.broker.entries import Entry
from workd.broker.keys import CANCEL_MS, CLAIM_MS, SEEN_MS
from workd.broker.kinship import Post
from workd.broker.link import Connector, Link
from workd.broker.ops import (
    Admit,
    Admitted,
    Argument,
    MoveReply,
    RenewReply,
    Settlement,
    SettleReply,
    TakeoverReply,
)
from workd.broker.permits import PermitAsk, PermitReply
from workd.broker.turns import Turns

OUTAGE_MS: Final = 3_000
"""A pause between two takeover passes from which we conclude that Redis, or we, were away."""
TAKEOVER_ENTRIES: Final = 1_000
MOVE_ITEMS: Final = 1_000
FULL_LOOK_S: Final = 0.5
"""How often we look into an inbox on which a full Redis lets nobody wait."""
CALL_BYTES: Final = 8 << 20
_PENDING_PAGE: Final = 1_000
_ENTRIES_PAGE: Final = 100
_ADMITTED: Final = (Admitted.RUN, Admitted.DUPLICATE, Admitted.CANCELLED, Admitted.WRONG_KEY)


@dataclass(slots=True)
class _Pass:
    """The last takeover pass over one queue, in server ms."""

    at_ms: int = 0
    quiet_until_ms: int = 0


class Session(Connections):
    """A daemon's connections to one Redis, under one daemon id, and what it asks over them."""

    def __init__(self, daemon_id: str, lease_s: float, url: str, connect: Connector, *, timeout_s: float) -> None:
        """Use `open`."""
        super().__init__(daemon_id, lease_s, url, connect, timeout_s=timeout_s)
        self._passes: dict[str, _Pass] = {}
        self._inboxes: dict[str, Link] = {}

    async def register(self, queue: str) -> bool:
        """Make the stream's group if it is missing and take out our lease.

        True if the lease was still there: what we have in flight is still ours. False for a first registration and
        after a takeover.
        """
        places = (keys.stream, keys.leases, keys.scheduled, keys.dead, keys.inbox)
        names = tuple(place(queue) for place in places)
        async with self._asking("registering", queue):
            reply = await scripts.REGISTER.call(self._shared, names, keys.GROUP, self._daemon_id, self._lease_ms)
        return bool(reply)

    async def taken(self, queue: str, entry_ids: Sequence[str]) -> list[str]:
        """Return those of these entries that are not pending for us any more."""
        async with self._asking("asking what was taken over", queue):
            found = await scripts.TAKEN.call(
                self._shared, (keys.stream(queue),), keys.GROUP, self._daemon_id, *entry_ids
            )
        return [entry_id.decode() for entry_id in found]

    async def fetch(self, queues: Sequence[str], count: int, block_ms: int) -> list[Entry]:
        """Return new entries: at once if there are any, else what comes within `block_ms` (0: do not wait).

        Over several queues it goes by their order, or by weights. A read of several may bring one entry of each, since
        COUNT is per stream: `len(queues) - 1` over `count` at the most. A group that is gone is made again.
        """
        async with self._asking("fetching", *queues):
            return await self._fetcher.fetch(queues, count, block_ms)

    def weigh(self, weights: Mapping[str, int]) -> None:
        """Fetch by these shares of the queues; without any, in their order."""
        self._fetcher.turns = Turns(weights)

    async def interrupt(self) -> None:
        """End the blocked `fetch`, which returns what it has got; if none blocks, the next one will not."""
        async with self._asking("ending a blocked read"):
            await self._fetcher.interrupt()

    async def history(self, queue: str, known: Callable[[str], bool]) -> list[Entry]:
        """Return what is pending for us and not known: reads whose reply was lost. Counts no delivery."""
        stream = keys.stream(queue)
        found: list[Entry] = []
        start = b"-"
        async with self._asking("reading what is pending", queue):
            while rows := await self._pending(stream, start):
                wanted = [row for row in rows if not known(row[0].decode())]
                for first in range(0, len(wanted), _ENTRIES_PAGE):
                    found += await self._read_again(queue, wanted[first : first + _ENTRIES_PAGE])
                start = b"(" + rows[-1][0]
        return found

    async def admit(self, queue: str, items: Sequence[Admit]) -> list[Admitted]:
        """Say for each job whether it may run; all are `FENCED` when our lease is gone. Asking twice is harmless.

        A claim key of another type is no error of the call: it holds back its job alone (`WRONG_KEY`).
        """
        arguments: list[Argument] = []
        for item in items:
            has_id = b"1" if item.has_producer_id else b""
            arguments += (item.entry_id, item.job_id, has_id, item.unique or b"")
        names = (keys.stream(queue), keys.leases(queue))
        head = (self._daemon_id, keys.prefix(queue), CLAIM_MS)
        async with self._asking("admitting", queue):
            reply = await scripts.ADMIT.call(self._shared, names, *head, *arguments)
        return [Admitted.FENCED] * len(items) if reply == [-1] else [_ADMITTED[number] for number in reply]

    async def settle(self, queue: str, items: Sequence[Settlement]) -> SettleReply:
        """Record what became of these jobs and remove them, in one script; sending a batch again is harmless."""
        if not items:
            return SettleReply()
        names = (keys.stream(queue), keys.leases(queue), keys.scheduled(queue), keys.dead(queue))
        ids = [item.entry_id for item in items]
        head: tuple[Argument, ...] = (
            keys.GROUP,
            self._daemon_id,
            keys.prefix(queue),
            SEEN_MS,
            CLAIM_MS,
            b"" if self._dead_max_entries is None else self._dead_max_entries,
            len(items),
            min(ids).partition("-")[0],
            max(ids).partition("-")[0],
        )
        async with self._asking("settling", queue):
            return SettleReply.read(await scripts.SETTLE.call(self._shared, names, *head, *ops.pack(items)))

    async def post(self, post: Post) -> str:
        """Bring a chain into another queue; return what is in the way, '' if it is done. Twice is as good as once."""
        async with self._asking("bringing a chain into another queue", post.queue):
            return await self._elsewhere.post(self._shared, post, CLAIM_MS)

    async def renew(self, queue: str, in_flight_ids: Sequence[str]) -> RenewReply:
        """Extend our lease, unless it is gone, and say which of these jobs were cancelled."""
        head = (self._daemon_id, self._lease_ms, f"{keys.prefix(queue)}cancel:")
        async with self._asking("renewing the lease", queue):
            reply = await scripts.RENEW.call(self._shared, (keys.leases(queue),), *head, *in_flight_ids)
        return RenewReply(fenced=reply[0] == 1, cancelled=frozenset(job_id.decode() for job_id in reply[1:]))

    async def takeover(self, queue: str) -> TakeoverReply:
        """Take jobs of daemons whose lease has ended, at most 1,000 or 8 MiB; to be called about once a second.

        Renews our own lease, and says what else changes without us: due times, a pause, jobs that wait for a limit.
        Quiet at first on a connection, and after a pause of over 3 s: all others get the time to renew.
        """
        last = self._passes.setdefault(queue, _Pass())
        names = (keys.stream(queue), keys.leases(queue), keys.scheduled(queue), keys.paused(queue))
        quiet_ms = self._lease_ms // 3 + 1_000
        limits = (last.at_ms, last.quiet_until_ms, OUTAGE_MS, quiet_ms, TAKEOVER_ENTRIES, CALL_BYTES)
        head = (keys.GROUP, self._daemon_id, *limits, self._lease_ms, keys.WAITING)
        async with self._asking("taking over", queue):
            reply = await scripts.TAKEOVER.call(self._shared, names, *head)
        last.at_ms, last.quiet_until_ms, next_score, fenced, owners, rows, pause, waiting, oldest_ms, undelivered = (
            reply
        )
        return TakeoverReply(
            entries=entries.from_claim(queue, rows),
            next_due_ms=ops.due(next_score),
            taken_from=tuple(owner.decode(errors="replace") for owner in owners),
            fenced=fenced == 1,
            server_ms=last.at_ms,
            paused=queues.read(pause),
            waiting=tuple(name.decode(errors="replace").removeprefix(keys.WAITING) for name in waiting),
            oldest_ms=int(oldest_ms) if oldest_ms else None,
            undelivered=int(undelivered) if undelivered != b"" else None,
        )

    async def permit(self, queue: str, ask: PermitAsk) -> PermitReply:
        """Give back and ask for what the limits of one task allow; see `scripts/permit.lua`."""
        async with self._asking(f"asking for the limits of task {ask.task}", queue):
            return await permits.ask(self._shared, queue, self._daemon_id, ask, most_bytes=CALL_BYTES, keep_ms=CLAIM_MS)

    async def move_due(self, queue: str, limit: int = MOVE_ITEMS) -> MoveReply:
        """Move scheduled jobs that are due into the stream. A cancelled one too: `admit` will tell who fetches it."""
        names = (keys.stream(queue), keys.scheduled(queue))
        limits = (keys.prefix(queue), limit, CALL_BYTES, CLAIM_MS, CANCEL_MS)
        async with self._asking("moving what is due", queue):
            moved, next_score = await scripts.MOVE_DUE.call(self._shared, names, *limits)
        return MoveReply(moved, ops.due(next_score))

    async def wait_inbox(self, queue: str, timeout_s: float) -> bool:
        """Wait until something is in the inbox, and leave it there; False if nothing came."""
        key = keys.inbox(queue)
        async with self._asking("waiting for the inbox", queue):
            link = self._inboxes.get(queue)
            if link is None or link.closed:
                link = self._inboxes[queue] = await self._link()
            command = (b"BLMOVE", key, key, b"LEFT", b"LEFT", max(timeout_s, 0.001))
            try:
                return await link.call(*command, timeout_s=timeout_s + self._timeout_s) is not None
            except OutOfMemoryError:  # Redis is full and refuses BLMOVE, though that one would need no memory
                if await self._shared.call(b"EXISTS", key):
                    return True
        await asyncio.sleep(min(timeout_s, FULL_LOOK_S))
        return False

    async def move_inbox(self, queue: str) -> int:
        """Move at most 1,000 messages or 8 MiB from the inbox into the stream and return how many."""
        names = (keys.inbox(queue), keys.stream(queue))
        async with self._asking("moving the inbox", queue):
            moved: int = await scripts.MOVE_INBOX.call(self._shared, names, MOVE_ITEMS, CALL_BYTES)
        return moved

    async def trim_dead(self, queue: str, max_bytes: int, max_age_s: float) -> int:
        """Remove the oldest dead letters beyond these limits and return how many."""
        names = (keys.dead(queue), keys.dead_trimmed(queue))
        async with self._asking("trimming the dead letters", queue):
            trimmed: int = await scripts.TRIM_DEAD.call(self._shared, names, max_bytes, int(max_age_s * 1000))
        return trimmed

    async def depart(self, queue: str) -> bool:
        """Give up our lease for good, if nothing is pending for us; False if something is."""
        names = (keys.stream(queue), keys.leases(queue))
        async with self._asking("leaving", queue):
            return bool(await scripts.DEPART.call(self._shared, names, keys.GROUP, self._daemon_id))

    async def _pending(self, stream: str, start: bytes) -> list[Any]:
        command = (b"XPENDING", stream, keys.GROUP, start, b"+", _PENDING_PAGE, self._daemon_id)
        try:
            rows: list[Any] = await self._shared.call(*command)
        except ResponseError as error:
            if faults.group_is_gone(error):
                return []
            raise
        return rows

    async def _read_again(self, queue: str, pending: Sequence[Any]) -> list[Entry]:
        deliveries = {row[0]: row[3] for row in pending}
        rows = await scripts.ENTRIES.call(self._shared, (keys.stream(queue),), keys.GROUP, *deliveries)
        return entries.from_claim(queue, [(row[0], deliveries[row[0]], row[1]) for row in rows])
