"""The producer of one system, run in that system's environment: does one thing and prints what it measured as JSON.

python -m bench.field.producer SYSTEM fill TASK JOBS [ARGUMENT] | rates CALL_SIZE | latency SAMPLES | versions NAME…
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.field import surroundings
from bench.field.journal import Starts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from bench.field.systems import Producer

WARM_UP = 100
BETWEEN_CLOCKS = 20
RATE_S = 1.0
WINDOWS = 5
WAIT_S = 10.0
POLL_S = 0.0003
PAUSE_S = (0.001, 0.008)  # between two jobs: random, so that no system's polling is met in step


async def fill(producer: Producer, task: str, count: str, *argument: str) -> None:
    """Enqueue `count` jobs."""
    await producer.send_many(task, [tuple(map(int, argument))] * int(count))


async def rates(producer: Producer, call_size: str) -> dict[str, float]:
    """Return how many jobs a second are enqueued one by one, and in calls of `call_size`."""
    for _ in range(WARM_UP):
        await producer.send("noop")
    calls: list[tuple[int, ...]] = [()] * int(call_size)

    async def some() -> int:
        for _ in range(BETWEEN_CLOCKS):
            await producer.send("noop")
        return BETWEEN_CLOCKS

    async def many() -> int:
        await producer.send_many("noop", calls)
        return len(calls)

    windows = [await _per_s(some, RATE_S / WINDOWS) for _ in range(WINDOWS)]
    return {"one_by_one_per_s": statistics.median(windows), "in_bulk_per_s": await _per_s(many, RATE_S)}


async def _per_s(work: Callable[[], Awaitable[int]], window_s: float) -> float:
    done, start = 0, time.perf_counter()
    while (took_s := time.perf_counter() - start) < window_s:
        done += await work()
    return done / took_s


async def latency(producer: Producer, samples: str) -> dict[str, list[float]]:
    """Return the milliseconds from the call that enqueues to the job's first line, and to its result in our hands."""
    starts = Starts(surroundings.folder())
    for number in range(WARM_UP // 10):
        await _until_start(producer, starts, number)
    to_start = [await _until_start(producer, starts, number) for number in range(int(samples))]
    to_result = [await _until_result(producer, number) for number in range(int(samples))]
    starts.close()
    return {"start_ms": to_start, "result_ms": to_result}


async def _until_start(producer: Producer, starts: Starts, number: int) -> float:
    await asyncio.sleep(random.uniform(*PAUSE_S))
    sent_ns = time.monotonic_ns()
    await producer.send("started", number)
    deadline = time.monotonic() + WAIT_S
    while (start := starts.next()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"job {number} did not begin within {WAIT_S:g} s")
        await asyncio.sleep(POLL_S)
    if start[0] != number:
        raise RuntimeError(f"job {start[0]} began where {number} was due: a job was run twice, or late")
    return (start[1] - sent_ns) / 1e6


async def _until_result(producer: Producer, number: int) -> float:
    await asyncio.sleep(random.uniform(*PAUSE_S))
    sent_ns = time.monotonic_ns()
    got = await producer.wait(await producer.send("started", number), WAIT_S)
    took_ms = (time.monotonic_ns() - sent_ns) / 1e6
    if got != number:
        raise RuntimeError(f"the result of job {number} is {got!r}")
    return took_ms


COMMANDS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {"fill": fill, "rates": rates, "latency": latency}


async def _run(system: str, command: str, *arguments: str) -> Any:
    producer: Producer = importlib.import_module(f"bench.field.systems.{system}").producer()
    await producer.open()
    try:
        return await COMMANDS[command](producer, *arguments)
    finally:
        await producer.close()


def _loop_run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop, which every asyncio system here recommends or uses by itself."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)


def main() -> None:
    """Do what the command line says."""
    system, command, *arguments = sys.argv[1:]
    if command == "versions":
        importlib.import_module(f"bench.field.systems.{system}")  # compiled now, not while something is measured
        print(json.dumps({name: importlib.metadata.version(name) for name in arguments}))
    else:
        print(json.dumps(_loop_run(_run(system, command, *arguments))))


if __name__ == "__main__":
    main()
