"""What one Redis carries: simulated daemons that make the same calls as real ones, and run nothing.

A simulated daemon (`python -m bench.curves.fleet URL NUMBER BATCH KEEP`) is a process with workd's own `Session`: it
registers, says so, waits for a line, then fetches BATCH entries at a time and settles them as succeeded, the next fetch
under way while a batch is settled. It ends when its standard input does. So one machine can put a fleet's load on a
server; what the jobs themselves would cost is left out, and what the server spends on each is exact.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from bench import processes
from bench.curves.figures import Figure
from bench.curves.stage import NOOP, fill, stream
from bench.machine import server_binary
from support.servers import Server
from workd.broker.ops import Finish
from workd.broker.session import Session
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from bench.curves.options import Options
    from workd.broker.ops import SettleReply

QUEUE = "default"
FULL_BATCH = 128  # what a daemon with two workers fetches at a time while it is busy
LEASE_S = 120.0
RENEW_S = 1.0
BLOCK_MS = 100
READY_S = 30.0
DRAIN_S = 120.0
LOOK_S = 0.01
OUTCOME = b"{" + b" " * 180 + b"}"  # as long as that of a job that returns next to nothing
RESULT_TTL_S = 600.0
BULK = 1_000
WAITING = 200_000


@dataclass(frozen=True, slots=True)
class Load:
    """So many simulated daemons, how many jobs go with one call, and whether outcomes are kept."""

    daemons: int
    batch: int
    keep: bool
    jobs: int


LOADS = (
    *(Load(count, FULL_BATCH, keep=False, jobs=300_000) for count in (1, 2, 4, 8)),
    Load(8, FULL_BATCH, keep=True, jobs=200_000),
    Load(8, 10, keep=False, jobs=100_000),
    Load(8, 1, keep=False, jobs=20_000),
)


@dataclass(frozen=True, slots=True)
class Carried:
    """What the server did, and what it cost it."""

    rate: float
    redis_us: float
    busy: float


def figures(options: Options) -> Iterator[Figure]:
    """Measure consuming under each load, then producing."""
    with Server(server_binary()) as server:
        found: dict[Load, list[Carried]] = {load: [] for load in LOADS}
        produced: dict[str, list[Carried]] = {"one by one": [], "in bulk": []}
        waiting: list[float] = []
        for _ in range(options.rounds):
            waiting.append(_waiting_bytes(server))
            for load in LOADS:
                found[load].append(_consume(server, load, options.jobs(load.jobs)))
            produced["one by one"].append(_produce(server, options.jobs(20_000), bulk=False))
            produced["in bulk"].append(_produce(server, options.jobs(200_000), bulk=True))
    for load, carried in found.items():
        words = f"{load.batch} {'job' if load.batch == 1 else 'jobs'} a call{', outcomes kept' if load.keep else ''}"
        yield from _shown(words, carried, load.daemons)
    for how, carried in produced.items():
        yield from _shown(f"enqueue {how}, one producer", carried, 0)
    yield Figure("fleet", "memory of Redis for a waiting job, beyond its message", "bytes", tuple(waiting))


def _shown(words: str, carried: list[Carried], daemons: int) -> Iterator[Figure]:
    unit = "simulated daemons" if daemons else ""
    for what, of, values in (
        ("rate", "jobs/s", [one.rate for one in carried]),
        ("CPU of Redis", "us/job", [one.redis_us for one in carried]),
        ("Redis is busy", "of 1", [one.busy for one in carried]),
    ):
        yield Figure("fleet", f"{words}: {what}", of, tuple(values), at=daemons, at_unit=unit)


@contextmanager
def _measured(server: Server, jobs: int) -> Iterator[list[Carried]]:
    """Note what the server uses meanwhile."""
    found: list[Carried] = []
    before_s, start = processes.live_cpu_s(server.pid), time.perf_counter()
    yield found
    took_s, cpu_s = time.perf_counter() - start, processes.live_cpu_s(server.pid) - before_s
    found.append(Carried(jobs / took_s, cpu_s / jobs * 1e6, cpu_s / took_s))


def _consume(server: Server, load: Load, jobs: int) -> Carried:
    client = server.client()
    client.flushall()
    fill(client, QUEUE, NOOP, jobs)
    with ExitStack() as stack:
        members = [stack.enter_context(_member(server.url, number, load)) for number in range(load.daemons)]
        for member in members:
            _await_line(member)
        with _measured(server, jobs) as found:
            for member in members:
                _tell(member)
            _wait_empty(client)
    return found[0]


def _produce(server: Server, jobs: int, *, bulk: bool) -> Carried:
    server.client().flushall()
    with Client(server.url).with_options(result_ttl=0) as client:
        client.enqueue("noop")
        with _measured(server, jobs) as found:
            if bulk:
                for _ in range(jobs // BULK):
                    client.enqueue_many("noop", [()] * BULK)
            else:
                for _ in range(jobs):
                    client.enqueue("noop")
    return found[0]


def _waiting_bytes(server: Server) -> float:
    """Return what a waiting job takes of Redis' memory beyond its message."""
    client = server.client()
    client.flushall()
    before = client.info("memory")["used_memory"]
    fill(client, QUEUE, NOOP, WAITING)
    taken: int = client.info("memory")["used_memory"] - before
    return taken / WAITING - len(NOOP)


def _wait_empty(client: redis.Redis) -> None:
    deadline = time.monotonic() + DRAIN_S
    while left := client.xlen(stream(QUEUE)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the simulated daemons left {left} jobs after {DRAIN_S:g} s")
        time.sleep(LOOK_S)


@contextmanager
def _member(url: str, number: int, load: Load) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", __name__, url, str(number), str(load.batch), str(int(load.keep))]
    tests = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=tests, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _await_line(member: subprocess.Popen[str]) -> None:
    assert member.stdout is not None
    if not member.stdout.readline():
        raise RuntimeError(f"a simulated daemon ended with {member.wait()} at its start: see its traceback above")


def _tell(member: subprocess.Popen[str]) -> None:
    assert member.stdin is not None
    member.stdin.write("go\n")
    member.stdin.flush()


# ── the simulated daemon ──


async def _simulate(url: str, number: int, batch: int, *, keep: bool) -> None:
    session = await Session.open(url, f"simulated:{number}:00000000", LEASE_S)
    await session.register(QUEUE)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    renewing = asyncio.ensure_future(_renew(session))
    working = asyncio.ensure_future(_fetch_and_settle(session, batch, keep=keep))
    await asyncio.wait({ended, working, renewing}, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, renewing):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _renew(session: Session) -> None:
    """Make the calls that a daemon makes once a second whatever it does."""
    while True:
        await session.renew(QUEUE, [])
        await session.takeover(QUEUE)
        await asyncio.sleep(RENEW_S)


async def _fetch_and_settle(session: Session, batch: int, *, keep: bool) -> None:
    settling: asyncio.Future[SettleReply] | None = None
    while True:
        entries = await session.fetch([QUEUE], batch, BLOCK_MS)
        if settling is not None:
            await settling
        items = [
            Finish(entry.entry_id, entry.entry_id, OUTCOME if keep else None, RESULT_TTL_S if keep else 0.0)
            for entry in entries
        ]
        settling = asyncio.ensure_future(session.settle(QUEUE, items))


def main() -> None:
    """Be one simulated daemon."""
    url, number, batch, keep = sys.argv[1:]
    uvloop.run(_simulate(url, int(number), int(batch), keep=keep == "1"))


if __name__ == "__main__":
    main()
