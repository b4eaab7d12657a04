"""A server, its daemons and their ledgers, and the one way in which full queues are drained and measured.

Used by the curves. Daemons are real processes (`workd run`). To measure a drain with warm daemons and without the
producer's share, the supervisors are stopped (SIGSTOP), the queues are filled, and the clock starts as they go on.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import processes
from bench.curves import tasks
from bench.curves.ledger import Ledgers
from bench.machine import server_binary
from support.daemons import DaemonProcess
from support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

MODULE = tasks.__name__
NOOP = b'{"task":"noop"}'
LEASE_S = 120  # a supervisor may be stopped for as long as it takes to fill the queues
TIMEOUT_S = 300.0
LOOK_SHARE = 0.02  # of the time so far: how long the bench sleeps between two looks, and how wrong an end may be
MIN_LOOK_S = 0.0005
MAX_LOOK_S = 0.025
_CALLS = ("evalsha", "xreadgroup", "blmove", "xpending")  # what a session sends, and scripts do not call
_FILL_CHUNK = 5_000
_FILL_CHUNK_BYTES = 8 << 20
_FILL = "for i = 1, tonumber(ARGV[2]) do redis.call('XADD', KEYS[1], '*', 'm', ARGV[1]) end"


def stream(queue: str) -> str:
    """Return the key of a queue's stream."""
    return f"workd:{{{queue}}}:stream"


def fill(client: redis.Redis, queue: str, message: bytes, jobs: int) -> None:
    """Add the same message `jobs` times, by a script on the server."""
    add = client.register_script(_FILL)
    chunk = max(1, min(_FILL_CHUNK, _FILL_CHUNK_BYTES // len(message)))
    for first in range(0, jobs, chunk):
        add(keys=[stream(queue)], args=[message, min(chunk, jobs - first)])


@dataclass(frozen=True, slots=True)
class Drain:
    """What emptying the queues took."""

    jobs: int
    took_s: float
    supervisor_cpu_s: float
    """Of all supervisors."""
    worker_cpu_s: float
    """Of all workers (and forkservers, which do nothing meanwhile)."""
    redis_cpu_s: float
    redis_calls: int
    """Commands that clients sent; what scripts run inside is not counted."""
    machine: processes.MachineTime

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.took_s

    @property
    def own_cpu_us(self) -> float:
        """CPU of all our processes, us a job."""
        return (self.supervisor_cpu_s + self.worker_cpu_s) / self.jobs * 1e6

    @property
    def idle_share(self) -> float:
        """How much of all cores' time nobody used."""
        return self.machine.idle_s / max(self.machine.total_s, 1e-9)

    @property
    def supervisor_cpu_us(self) -> float:
        """CPU of the supervisors, us a job."""
        return self.supervisor_cpu_s / self.jobs * 1e6

    @property
    def worker_cpu_us(self) -> float:
        """CPU of the workers, us a job, with what the tasks themselves use."""
        return self.worker_cpu_s / self.jobs * 1e6

    @property
    def calls_per_job(self) -> float:
        """Calls to the server a job."""
        return self.redis_calls / self.jobs

    @property
    def redis_cpu_us(self) -> float:
        """CPU of the server, us a job."""
        return self.redis_cpu_s / self.jobs * 1e6


@dataclass(frozen=True, slots=True)
class _Spent:
    supervisor_cpu_s: float
    worker_cpu_s: float
    redis_cpu_s: float
    redis_calls: int
    machine: processes.MachineTime


class Stage:
    """One server with daemons on it."""

    def __init__(self, server: Server, daemons: Sequence[DaemonProcess], folder: Path) -> None:
        """Use what `stage` has started."""
        self.server = server
        self.daemons = daemons
        self.ledgers = Ledgers(folder)
        self.client = server.client()

    def drain(self, jobs: int, message: bytes = NOOP, queues: Sequence[str] = ("default",)) -> Drain:
        """Fill the queues evenly with `jobs` messages, and measure until all of them are settled."""
        for daemon in self.daemons:
            daemon.pause()
        self.ledgers.reset()
        shares = [jobs // len(queues) + (number < jobs % len(queues)) for number in range(len(queues))]
        for queue, share in zip(queues, shares, strict=True):
            fill(self.client, queue, message, share)
        before, start = self._spent(), time.perf_counter()
        for daemon in self.daemons:
            daemon.resume()
        self._wait_until_done(jobs, queues)
        took_s, after = time.perf_counter() - start, self._spent()
        return Drain(
            jobs,
            took_s,
            after.supervisor_cpu_s - before.supervisor_cpu_s,
            after.worker_cpu_s - before.worker_cpu_s,
            after.redis_cpu_s - before.redis_cpu_s,
            after.redis_calls - before.redis_calls,
            after.machine.since(before.machine),
        )

    def warm_up(self, jobs: int = 4_000, message: bytes = NOOP, queues: Sequence[str] = ("default",)) -> None:
        """Have the daemons learn what such a job takes."""
        self.drain(jobs, message, queues)

    def _wait_until_done(self, jobs: int, queues: Sequence[str]) -> None:
        """Look at the ledgers, seldom enough to cost nobody anything, and only at the end at Redis."""
        start = time.monotonic()
        while self.ledgers.jobs() < jobs:
            passed_s = time.monotonic() - start
            if passed_s > TIMEOUT_S:
                raise TimeoutError(f"{self.ledgers.jobs()} of {jobs} jobs after {TIMEOUT_S} s: {self._logs()}")
            time.sleep(min(max(passed_s * LOOK_SHARE, MIN_LOOK_S), MAX_LOOK_S))
            self.ledgers.look()
        for queue in queues:
            while self.client.xlen(stream(queue)):
                time.sleep(MIN_LOOK_S)

    def _spent(self) -> _Spent:
        supervisors = [daemon.pid for daemon in self.daemons]
        workers = [pid for supervisor in supervisors for pid in processes.descendants(supervisor)]
        return _Spent(
            sum(map(processes.live_cpu_s, supervisors)),
            sum(map(processes.live_cpu_s, workers)),
            processes.live_cpu_s(self.server.pid),
            self._calls(),
            processes.MachineTime.now(),
        )

    def _calls(self) -> int:
        stats = self.client.info("commandstats")
        return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in _CALLS)

    def _logs(self) -> str:
        return "\n".join(daemon.log_text()[-2_000:] for daemon in self.daemons)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="workd-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def daemon(url: str, folder: Path, *, workers: int, **settings: object) -> DaemonProcess:
    """Prepare a daemon with the measured tasks; its jobs report to `folder`."""
    return DaemonProcess(
        url,
        folder,
        modules=(MODULE,),
        environment={tasks.FOLDER: str(folder)},
        workers=workers,
        **{"lease_s": LEASE_S} | settings,
    )


@contextmanager
def stage(
    *, workers: int = 2, daemons: int = 1, server: Server | None = None, url: str = "", **settings: object
) -> Iterator[Stage]:
    """Start a server (unless one is given) and daemons that are ready, and end all of it.

    `url` is where the daemons find the server, if it is not the server's own address (a proxy's).
    """
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        server = server or stack.enter_context(Server(server_binary()))
        made = [daemon(url or server.url, folder, workers=workers, **settings) for _ in range(daemons)]
        for one in made:
            stack.enter_context(one)
        for one in made:
            one.wait_ready()
        yield Stage(server, made, folder)
