"""What a daemon with nothing to do costs: CPU, the server's too, and commands, for each second and each queue."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from bench import processes
from bench.curves.figures import Figure, Goal
from bench.curves.stage import stage
from bench.machine import server_binary
from support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.curves.options import Options
    from bench.curves.stage import Stage

QUEUES = (1, 10, 100)
LEASE_S = 15  # the default: renewals are a third of it apart
WATCHED_S = 4.0
SETTLED_S = 1.0
OWN_CPU_GOAL_US = 5_000  # half a hundredth of a core, with one queue
COMMANDS_GOAL = 2.0  # a second, with one queue; a script is one
COMMANDS_PER_QUEUE_GOAL = 0.5  # for each further one
COMMAND_ROUNDS = 2  # they are long, and nearly the same
COMMANDS_WATCHED_S = 15.0  # a lease: what is done once in its third is done three times


def figures(options: Options) -> Iterator[Figure]:
    """Watch a server without daemons (0 queues), then daemons of 1 to 100 empty queues."""
    with Server(server_binary()) as server:
        bare = tuple(_bare_us(server) for _ in range(options.rounds))
    yield Figure("idle", "CPU of Redis", "us/s", bare, at=0, at_unit="queues")
    for count in QUEUES:
        names = ",".join(f"q{number}" for number in range(count))
        with stage(queues=names, lease_s=LEASE_S) as ours:
            time.sleep(SETTLED_S)
            seconds = [_watch(ours) for _ in range(options.rounds)]
            commands = tuple(_commands(ours) for _ in range(min(COMMAND_ROUNDS, options.rounds)))
        figure = partial(Figure, "idle", at=count, at_unit="queues")
        for index, what in enumerate(("CPU of the supervisor", "CPU of forkserver and workers", "CPU of Redis")):
            goal = Goal(at_most=OWN_CPU_GOAL_US) if index == 0 and count == 1 else None
            yield figure(what, "us/s", tuple(one[index] for one in seconds), goal=goal)
        most = COMMANDS_GOAL + COMMANDS_PER_QUEUE_GOAL * (count - 1)
        yield figure("commands to Redis", "per s", commands, goal=Goal(at_most=most))


def _commands(ours: Stage) -> float:
    """Return how many commands the daemon sends in a second; what a script runs inside is not counted."""
    sent, end = 0, time.monotonic() + COMMANDS_WATCHED_S
    with ours.client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's
        for command in monitor.listen():
            if time.monotonic() > end:
                break
            sent += command["client_type"] != "lua"
    return sent / COMMANDS_WATCHED_S


def _bare_us(server: Server) -> float:
    """Return the CPU that a server without clients uses in a second, in us."""
    before_s, start = processes.live_cpu_s(server.pid), time.monotonic()
    time.sleep(WATCHED_S)
    return (processes.live_cpu_s(server.pid) - before_s) / (time.monotonic() - start) * 1e6


def _watch(ours: Stage) -> tuple[float, float, float]:
    """Return the CPU that supervisor, workers and server use in a second, in us."""
    supervisor, server = ours.daemons[0].pid, ours.server.pid
    groups = ([supervisor], processes.descendants(supervisor), [server])
    before, start = [sum(map(processes.live_cpu_s, pids)) for pids in groups], time.monotonic()
    time.sleep(WATCHED_S)
    took_s = time.monotonic() - start
    own, below, redis = (
        (sum(map(processes.live_cpu_s, pids)) - used_s) / took_s * 1e6
        for pids, used_s in zip(groups, before, strict=True)
    )
    return own, below, redis
