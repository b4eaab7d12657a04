"""Messages of 1 KB, 100 KB and 1 MB, against what a bare redis-py loop reads at that size, in turns on one server.

The bare loop does nothing with what it reads. A second one hands each message to a process that parses it: the least
that any pool of processes has to do.
"""

from __future__ import annotations

import json
import random
import string
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import redis

from bench.curves.figures import Figure, Goal
from bench.curves.relay import Relay, relay
from bench.curves.stage import Drain, Stage, fill, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.curves.options import Options

JOBS = {1_000: 40_000, 100_000: 3_000, 1_000_000: 400}  # by payload bytes
WORKERS = 2
WARM_UP_JOBS = 2_000
GOAL = 0.8
MAX_MESSAGE_BYTES = 4 << 20
BARE_COUNT = 100
BARE_BYTES = 16 << 20  # in one read, as workd's own limit
BARE_QUEUE = "bare"
GROUP = "bare"


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of all three."""

    drain: Drain
    bare: float
    relayed: float


def figures(options: Options) -> Iterator[Figure]:
    """Measure every size."""
    with relay(WORKERS) as handed, stage(workers=WORKERS, max_message_bytes=MAX_MESSAGE_BYTES) as ours:
        for size, full in JOBS.items():
            jobs = options.jobs(full)
            message = json.dumps({"task": "measure", "args": [_text(size)]}).encode()
            ours.warm_up(min(jobs, WARM_UP_JOBS), message)
            rounds = [
                Round(
                    ours.drain(jobs, message),
                    _bare_rate(ours, jobs, message),
                    _bare_rate(ours, jobs, message, handed),
                )
                for _ in range(options.rounds)
            ]
            yield from _figures(size, rounds)


def _figures(size: int, rounds: list[Round]) -> Iterator[Figure]:
    figure = partial(Figure, "payloads", at=size / 1000, at_unit="KB")
    drains = [one.drain for one in rounds]
    yield figure("drain", "jobs/s", tuple(drain.rate for drain in drains))
    yield figure("drain", "MB/s", tuple(drain.rate * size / 1e6 for drain in drains))
    yield figure("bare redis-py loop", "jobs/s", tuple(one.bare for one in rounds))
    yield figure("the same, each handed to a process and parsed", "jobs/s", tuple(one.relayed for one in rounds))
    yield figure("drain : bare loop", "x", tuple(one.drain.rate / one.bare for one in rounds), goal=Goal(at_least=GOAL))
    yield figure("drain : loop that hands over", "x", tuple(one.drain.rate / one.relayed for one in rounds))
    yield figure("CPU of the supervisor", "us/job", tuple(drain.supervisor_cpu_us for drain in drains))
    yield figure("CPU of the workers", "us/job", tuple(drain.worker_cpu_us for drain in drains))
    yield figure("CPU of Redis", "us/job", tuple(drain.redis_cpu_us for drain in drains))
    yield figure("idle share of the machine", "of 1", tuple(drain.idle_share for drain in drains))


def _bare_rate(ours: Stage, jobs: int, message: bytes, handed: Relay | None = None) -> float:
    """Return how many entries a second a loop of XREADGROUP, XACK and XDEL reads; `handed` gets each, if given."""
    key = f"workd:{{{BARE_QUEUE}}}:stream"
    fill(ours.client, BARE_QUEUE, message, jobs)
    count = max(1, min(BARE_COUNT, BARE_BYTES // len(message)))
    with closing(redis.Redis(port=ours.server.port, protocol=2)) as client:
        client.xgroup_create(key, GROUP, id="0")
        start, read = time.perf_counter(), 0
        while read < jobs:
            reply: Any = client.xreadgroup(GROUP, "one", {key: ">"}, count=count)
            entries = reply[0][1]
            if handed is not None:
                for _, fields in entries:
                    handed.hand(fields[b"m"])
            ids = [entry_id for entry_id, _ in entries]
            client.xack(key, GROUP, *ids)
            client.xdel(key, *ids)
            read += len(ids)
        if handed is not None:
            handed.wait()
        took_s = time.perf_counter() - start
        client.delete(key)
    return jobs / took_s


def _text(size: int) -> str:
    """Return so many characters of made-up words, the same each time."""
    choose = random.Random(size).choices
    return "".join(choose(string.ascii_letters + " " * 10, k=size))
