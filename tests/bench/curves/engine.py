"""What the engine's rules cost: room in Redis, delayed jobs that are due at once, and the jobs of a dead daemon."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.curves.figures import Figure, Goal
from bench.curves.stage import NOOP, fill, stage, stream
from bench.machine import server_binary
from support.servers import Server
from support.waiting import eventually
from workd.broker import keys
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from bench.curves.options import Options
    from bench.curves.stage import Stage

STORED_JOBS = 100_000
STORED_GOAL = 1.3
DUE_JOBS = 10_000
DUE_GOAL_S = 1.0
DUE_IN_S = 8.0  # more than it takes to enqueue and schedule them
ORPHANS = 10_000
ORPHANS_GOAL_S = 5.0
LEASE_S = 3.0
DEAD = "a-dead-daemon"
WAIT_S = 60.0


def stored(options: Options) -> Iterator[Figure]:
    """Compare what a queued no-op takes in Redis with an entry of the same message in a stream of one's own."""
    sizes, ratios = [], []
    for _ in range(options.rounds):
        size, message = _enqueued()
        sizes.append(size)
        ratios.append(size / _bare_bytes(message))
    yield Figure("stored", "a queued no-op", "bytes", tuple(sizes))
    goal = Goal(at_most=STORED_GOAL)
    yield Figure("stored", "… : bare entry of the same message", "x", tuple(ratios), goal=goal)


def _enqueued() -> tuple[float, bytes]:
    """Return what an enqueued job takes, in bytes, and its message."""
    with Server(server_binary()) as server, server.client() as client:
        before = _used_bytes(client)
        with Client(server.url) as producer:
            producer.with_options(result_ttl=0).enqueue_many("noop", [()] * STORED_JOBS)
        size = (_used_bytes(client) - before) / STORED_JOBS
        ((_, fields),) = client.xrange(stream("default"), count=1)
        return size, fields[b"m"]


def _bare_bytes(message: bytes) -> float:
    """Return what an entry with this message takes in a stream that nobody but XADD has touched."""
    with Server(server_binary()) as server, server.client() as client:
        before = _used_bytes(client)
        fill(client, "bare", message, STORED_JOBS)
        return (_used_bytes(client) - before) / STORED_JOBS


def _used_bytes(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def due(options: Options) -> Iterator[Figure]:
    """Have ten thousand jobs be due at the same moment, and see when the last one has run."""
    with stage() as ours:
        ours.warm_up()
        late_s = [_lateness_s(ours) for _ in range(options.rounds)]
    figure = f"{DUE_JOBS:,} jobs of one moment: until the last has run"
    yield Figure("due", figure, "s", tuple(late_s), goal=Goal(at_most=DUE_GOAL_S))


def _lateness_s(ours: Stage) -> float:
    ours.ledgers.reset()
    due_at = time.time() + DUE_IN_S
    with Client(ours.server.url) as client:
        client.with_options(result_ttl=0, run_at=due_at).enqueue_many("noop", [()] * DUE_JOBS)
    eventually(lambda: ours.client.zcard(keys.scheduled("default")) == DUE_JOBS, WAIT_S)
    if time.time() > due_at:
        raise TimeoutError(f"to schedule {DUE_JOBS:,} jobs took longer than {DUE_IN_S:g} s")
    due_monotonic_s = time.monotonic() + due_at - time.time()
    eventually(lambda: ours.ledgers.read().jobs == DUE_JOBS, WAIT_S)
    return ours.ledgers.read().last_end_s - due_monotonic_s


def takeover(options: Options) -> Iterator[Figure]:
    """Leave ten thousand fetched jobs behind a daemon whose lease ends, and see when the last one has run."""
    with stage(lease_s=LEASE_S) as ours:
        ours.warm_up()
        time.sleep(LEASE_S)  # after the warm-up's pause, which is taken for an outage, everybody may renew first
        taken_s = [_taken_over_s(ours) for _ in range(options.rounds)]
    figure = f"{ORPHANS:,} orphaned jobs: from the lease's end until the last has run"
    yield Figure("takeover", figure, "s", tuple(taken_s), goal=Goal(at_most=ORPHANS_GOAL_S))


def _taken_over_s(ours: Stage) -> float:
    client = ours.client
    ours.ledgers.reset()
    with _stopped(ours):
        fill(client, "default", NOOP, ORPHANS)
        client.xreadgroup(keys.GROUP, DEAD, {stream("default"): ">"}, count=ORPHANS)
        seconds, micros = client.time()
        client.hset(keys.leases("default"), DEAD, int(seconds * 1000 + micros / 1000))
    lease_end_s = time.monotonic()
    eventually(lambda: ours.ledgers.read().jobs == ORPHANS, WAIT_S)
    return ours.ledgers.read().last_end_s - lease_end_s


@contextmanager
def _stopped(ours: Stage) -> Iterator[None]:
    """Keep the daemons from the queue for a moment that is shorter than an outage."""
    for one in ours.daemons:
        one.pause()
    try:
        yield
    finally:
        for one in ours.daemons:
            one.resume()
