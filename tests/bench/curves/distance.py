"""How far Redis may be away: the same drain through a proxy of our own that delays by 0 to 10 ms a round trip."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import redis

from bench.curves.delay import delayed
from bench.curves.figures import Figure, Goal
from bench.curves.stage import Drain, stage
from bench.machine import server_binary
from support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.curves.options import Options

ROUND_TRIPS_MS = (0.0, 1.0, 2.0, 10.0)
GOALS = {2.0: 0.7}
JOBS = 60_000
PINGS = 50


def figures(options: Options) -> Iterator[Figure]:
    """Measure all distances in turns, each with a daemon of its own that is idle while another has its turn."""
    jobs = options.jobs(JOBS)
    pings_ms: dict[float, tuple[float, ...]] = {}
    drains: dict[float, list[Drain]] = {distance: [] for distance in ROUND_TRIPS_MS}
    with Server(server_binary()) as server:
        for _ in range(options.rounds):
            for distance in ROUND_TRIPS_MS:
                with ExitStack() as stack:
                    port = stack.enter_context(delayed(server.port, distance))
                    pings_ms[distance] = _pings_ms(port)
                    ours = stack.enter_context(stage(server=server, url=f"redis://127.0.0.1:{port}/0"))
                    ours.warm_up()
                    drains[distance].append(ours.drain(jobs))
                server.client().flushall()
    for distance, found in drains.items():
        figure = partial(Figure, "distance", at=distance, at_unit="ms round trip")
        yield figure("PING through the proxy", "ms", pings_ms[distance])
        yield figure("drain", "jobs/s", tuple(drain.rate for drain in found))
        ratios = tuple(drain.rate / near.rate for drain, near in zip(found, drains[0.0], strict=True))
        goal = Goal(at_least=GOALS[distance]) if distance in GOALS else None
        yield figure("of the drain at 0 ms", "x", ratios, goal=goal)
        yield figure("CPU of our processes", "us/job", tuple(drain.own_cpu_us for drain in found))
        idle = tuple(drain.idle_share for drain in found)
        yield figure("idle share of the machine", "of 1", idle)


def _pings_ms(port: int) -> tuple[float, ...]:
    """Return quartiles of what a PING takes through the proxy."""
    times_ms = []
    with closing(redis.Redis(port=port)) as client:
        client.ping()
        for _ in range(PINGS):
            start = time.perf_counter()
            client.ping()
            times_ms.append((time.perf_counter() - start) * 1000)
    return tuple(statistics.quantiles(times_ms, n=4))
