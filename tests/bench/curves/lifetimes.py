"""From the start of a daemon to its first job, and from the death of a worker to the next one's first job."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from bench.curves.figures import Figure, Goal
from bench.curves.stage import NOOP, Stage, daemon, fill, stage, temporary_folder
from bench.machine import server_binary
from support.servers import Server
from support.waiting import eventually
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.curves.options import Options

WORKERS = 2
START_GOAL_S = 0.8
REFILL_GOAL_S = 0.1
BOOT_S = 30.0
STEADY_S = 1.2  # a worker that dies within a second of its boot is a false start, and its slot waits a little
KILLS_PER_ROUND = 2


def figures(options: Options) -> Iterator[Figure]:
    """Measure starts with and without HTTP, then deaths."""
    with Server(server_binary()) as server:
        for what, http in (("without http", ""), ("with http", "unix:{folder}/http.sock")):
            times_s = [_first_job_s(server, http) for _ in range(options.rounds + 1)][1:]  # the first one compiles
            goal = Goal(at_most=START_GOAL_S)
            yield Figure("start", f"start to first job done, {what}", "s", tuple(times_s), goal=goal)
    with stage(workers=1, max_crashes=10_000) as ours, Client(ours.server.url) as client:
        times_s = [_refill_s(ours, client, number) for number in range(options.rounds * KILLS_PER_ROUND)]
    yield Figure("refill", "SIGKILL to the next worker's job", "s", tuple(times_s), goal=Goal(at_most=REFILL_GOAL_S))


def _first_job_s(server: Server, http: str) -> float:
    with temporary_folder() as folder, server.client() as client:
        client.flushall()
        fill(client, "default", NOOP, 1)
        one = daemon(server.url, folder, workers=WORKERS, http=http.format(folder=folder))
        start = time.monotonic()
        with one:
            ledgers = Stage(server, [one], folder).ledgers
            eventually(lambda: ledgers.read().jobs, BOOT_S)
            return ledgers.read().last_end_s - start


def _refill_s(ours: Stage, client: Client, number: int) -> float:
    """Kill the only worker in the middle of a job; the next job is waiting."""
    time.sleep(STEADY_S)
    path = ours.ledgers.folder / f"held-{number}"
    held = client.enqueue("hold", path)
    eventually(path.exists, BOOT_S)
    ours.ledgers.reset()
    client.enqueue("noop")
    victim = os.pidfd_open(int(path.read_text()))
    start = time.monotonic()
    signal.pidfd_send_signal(victim, signal.SIGKILL)
    os.close(victim)
    eventually(lambda: ours.ledgers.read().jobs, BOOT_S)
    took_s = ours.ledgers.read().last_end_s - start
    held.get(timeout=BOOT_S)
    return took_s
