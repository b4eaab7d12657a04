"""What a daemon weighs: PSS of supervisor, forkserver and workers, with a task module that loads nothing heavy."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

from bench import processes
from bench.curves.figures import Figure, Goal
from bench.curves.stage import daemon, temporary_folder
from bench.machine import server_binary
from support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.curves.options import Options

FEW, MANY = 2, 6
PLAIN_GOAL_MB = 75.0
HTTP_GOAL_MB = 90.0
WORKER_GOAL_MB = 6.0
SETTLED_S = 1.0  # after it, what only the start needed is gone
MB = 1e6


def figures(options: Options) -> Iterator[Figure]:
    """Weigh daemons with few and many workers, and one with HTTP."""
    with Server(server_binary()) as server:
        plain = [_weigh(server, FEW) for _ in range(options.rounds)]
        many = [_weigh(server, MANY) for _ in range(options.rounds)]
        served = [_weigh(server, FEW, served=True) for _ in range(options.rounds)]
    totals = tuple(map(sum, plain))
    yield Figure("memory", "PSS, 2 workers, without http", "MB", totals, goal=Goal(at_most=PLAIN_GOAL_MB))
    for index, part in enumerate(("supervisor", "forkserver", "2 workers together")):
        yield Figure("memory", f"    {part}", "MB", tuple(weights[index] for weights in plain))
    yield Figure("memory", "PSS, 2 workers, http", "MB", tuple(map(sum, served)), goal=Goal(at_most=HTTP_GOAL_MB))
    yield Figure("memory", "    supervisor", "MB", tuple(weights[0] for weights in served))
    each = tuple((sum(more) - sum(less)) / (MANY - FEW) for less, more in zip(plain, many, strict=True))
    yield Figure("memory", "each further worker, before user code", "MB", each, goal=Goal(at_most=WORKER_GOAL_MB))


def _weigh(server: Server, workers: int, *, served: bool = False) -> tuple[float, float, float]:
    """Return the PSS of supervisor, forkserver and workers in MB."""
    with temporary_folder() as folder:
        path = folder / "http.sock"
        address = f"unix:{path}" if served else ""
        with daemon(server.url, folder, workers=workers, http=address) as one:
            one.wait_ready()
            if served:
                for page in ("/livez", "/readyz", "/status", "/metrics"):
                    _ask(path, page)
            time.sleep(SETTLED_S)
            forkservers = set(one.forkserver_pids())
            workers_pids = set(processes.descendants(one.pid)) - forkservers
            return (
                processes.pss_bytes(one.pid) / MB,
                sum(map(processes.pss_bytes, forkservers)) / MB,
                sum(map(processes.pss_bytes, workers_pids)) / MB,
            )


def _ask(path: Path, page: str) -> None:
    """Read a page over a unix socket; what it says does not matter here."""
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.connect(str(path))
        sock.sendall(f"GET {page} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        answer.read()
