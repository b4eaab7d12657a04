"""What is compared: each part measures one tree and returns costs by name, of which less is better.

Only what every revision has is used: the command line `workd run`, `workd.Pool`, `workd.Client`, the wire format.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.compare.trees import BENCH, LackingError
from bench.through_redis import DaemonError, daemon, drain

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

    from bench.compare.trees import Tree
    from support.servers import Server

MODULE: Final = "compare_tasks"
METHOD: Final = "forkserver"
CALLS: Final = 5_000
ITEMS: Final = 400_000
HERE: Final = BENCH / "compare"


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table: how a cost is called and shown."""

    what: str
    show: Callable[[float], str]


def _rate(unit: str) -> Callable[[float], str]:
    return lambda seconds: f"{1 / seconds:,.0f} {unit}/s"


def _scaled(factor: float, unit: str, digits: int = 1) -> Callable[[float], str]:
    return lambda cost: f"{cost * factor:,.{digits}f} {unit}"


@dataclass(frozen=True, slots=True)
class Part:
    """What is measured together; `take` returns a cost for each of `measures`, by their keys."""

    measures: dict[str, Measure]
    take: Callable[[Tree, Server, Namespace], dict[str, float]]


def _calls(tree: Tree, _: Server, options: Namespace) -> dict[str, float]:
    found: dict[str, float] = tree.run(HERE / "probe_calls.py", options.workers, CALLS, ITEMS)
    return found


def _start(tree: Tree, _: Server, __: Namespace) -> dict[str, float]:
    found: dict[str, float] = tree.run(BENCH / "probe_start.py", "ours", METHOD)
    return {"first": found["cold_s"], "first_with_import": found["import_s"] + found["cold_s"]}


def _memory(tree: Tree, _: Server, __: Namespace) -> dict[str, float]:
    return {"pss": statistics.median(tree.run(BENCH / "probe_memory.py", "ours", METHOD))}


def _drain(tree: Tree, server: Server, options: Namespace, *, results: bool) -> dict[str, float]:
    try:
        one = drain(
            server, options.jobs, options.workers, results=results, environment=tree.environment(), module=MODULE
        )
    except DaemonError as error:
        raise LackingError(str(error)) from error
    return {"job": one.job_s, "cpu": one.own_cpu_us, "redis_cpu": one.redis_cpu_us, "redis_calls": one.redis_calls}


def _drain_plain(tree: Tree, server: Server, options: Namespace) -> dict[str, float]:
    return _drain(tree, server, options, results=False)


def _drain_results(tree: Tree, server: Server, options: Namespace) -> dict[str, float]:
    return _drain(tree, server, options, results=True)


def _produce(tree: Tree, server: Server, options: Namespace) -> dict[str, float]:
    server.client().flushall()
    return _producer(tree, server.url, "enqueue", options.jobs)


def _round_trips(tree: Tree, server: Server, options: Namespace) -> dict[str, float]:
    server.client().flushall()
    with daemon(server.url, options.workers, tree.environment(), MODULE):
        return _producer(tree, server.url, "round-trips", options.round_trips)


def _producer(tree: Tree, url: str, what: str, count: int) -> dict[str, float]:
    script: Path = HERE / "probe_producer.py"
    found: dict[str, float] = tree.run(script, url, what, count)
    return found


def _drain_measures(text: str) -> dict[str, Measure]:
    return {
        "job": Measure(f"drain, {text}", _rate("jobs")),
        "cpu": Measure("    CPU of supervisor and workers", _scaled(1, "us a job")),
        "redis_cpu": Measure("    CPU of Redis", _scaled(1, "us a job")),
        "redis_calls": Measure("    calls of Redis", _scaled(1, "a job", 3)),
    }


PARTS: Final = {
    "calls": Part(
        {
            "apply_async": Measure("apply_async, no-ops one by one", _rate("calls")),
            "imap_unordered": Measure("imap_unordered(chunksize=1), no-ops", _rate("calls")),
            "map": Measure(f"map, {ITEMS:,} ints", _rate("items")),
        },
        _calls,
    ),
    "start": Part(
        {
            "first": Measure("first result, cold", _scaled(1e3, "ms")),
            "first_with_import": Measure("    with the import", _scaled(1e3, "ms")),
        },
        _start,
    ),
    "memory": Part({"pss": Measure("PSS of a worker", _scaled(1e-6, "MB", 2))}, _memory),
    "drain": Part(_drain_measures("results off"), _drain_plain),
    "results": Part(_drain_measures("results stored"), _drain_results),
    "enqueue": Part(
        {
            "one_by_one": Measure("enqueue, one by one", _rate("messages")),
            "bulk": Measure("enqueue, in bulk", _rate("messages")),
        },
        _produce,
    ),
    "latency": Part({"median": Measure("enqueue to result, idle daemon", _scaled(1e3, "ms", 2))}, _round_trips),
}
