"""docs/scaling.md, from its template docs/benchmarks/scaling.md.in and curves.json: no figure in it is typed by hand.

`page` is called by `__main__`. In the template, ${name} stands for one of the texts that `texts` makes.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FULL = "128 jobs a call"
KEPT = f"{FULL}, outcomes kept"
TEN = "10 jobs a call"
ALONE = "1 job a call"
ONE_BY_ONE = "enqueue one by one, one producer"
IN_BULK = "enqueue in bulk, one producer"
MOST = 8  # simulated daemons
SECOND_US = 1e6
JOB_S = 0.020
DIGITS = 2  # that an estimate has, and most of what it is made of


class MissingError(LookupError):
    """The page needs a figure that curves.json does not have; the text says which, and how to get it."""


@dataclass(frozen=True, slots=True)
class Curves:
    """The figures of curves.json."""

    found: Mapping[str, Any]

    def figure(self, curve: str, what: str, at: float = 0.0, unit: str | None = None) -> dict[str, Any]:
        """Return one figure."""
        figures = self.found["curves"].get(curve, {"figures": []})["figures"]
        for one in figures:
            if (one["what"], one["at"]) == (what, at) and unit in (None, one["unit"]):
                kept: dict[str, Any] = one
                return kept
        place = f" at {at:,.10g}" if at else ""
        raise MissingError(f'there is no "{what}"{place} of {curve}: measure it by make bench-curves ARGS="{curve}"')

    def median(self, curve: str, what: str, at: float = 0.0, unit: str | None = None) -> float:
        """Return the median of one figure."""
        return float(self.figure(curve, what, at, unit)["median"])

    def redis_us(self, load: str, at: float = 0.0) -> float:
        """Return what a job costs Redis under a load."""
        return self.median("fleet", f"{load}: CPU of Redis", at)

    def best(self, curve: str, what: str) -> dict[str, Any]:
        """Return the figure with the highest median along a curve."""
        figures = [one for one in self.found["curves"].get(curve, {"figures": []})["figures"] if one["what"] == what]
        if not figures:
            raise MissingError(f'there is no "{what}" of {curve}: measure it by make bench-curves ARGS="{curve}"')
        return max(figures, key=lambda one: float(one["median"]))


def page(template: str, found: Mapping[str, Any]) -> str:
    """Return the page. Raises `MissingError`, and KeyError for a name in the template that means nothing."""
    return string.Template(template).substitute(texts(Curves(found)))


def texts(curves: Curves) -> dict[str, str]:
    """Return everything that the template may name."""
    machine = curves.found["machine"]
    alone_rate = SECOND_US / curves.redis_us(ALONE, MOST)
    supervisor_rate = float(curves.best("workers", "drain")["median"])
    return {
        "server": machine["server"],
        "cores": machine["cores"],
        "costs": _costs(curves),
        "loads": _loads(curves),
        "alone_us": rough(curves.redis_us(FULL, 1)),
        "fleet_us": rough(curves.redis_us(FULL, MOST)),
        "supervisor_rate": rough(supervisor_rate),
        "supervisors": f"{float(_busiest(curves)['median']) / supervisor_rate:.0f}",
        "alone_rate": rough(alone_rate),
        "workers_20ms": rough(alone_rate * JOB_S),
        "supervisor_us": rough(curves.median("workers", "CPU of the supervisors", 2)),
        "far_share": rough(curves.median("distance", "of the drain at 0 ms", 10) * 100),
        "large_mb": rough(curves.median("payloads", "drain", 1000, "MB/s")),
        "queues_share": rough(curves.median("queues", "drain", 100) / curves.median("queues", "drain", 1) * 100),
        "waiting_bytes": rough(curves.median("fleet", "memory of Redis for a waiting job, beyond its message")),
        **_idle(curves),
    }


def rough(value: float) -> str:
    """Write a number with the digits that mean something from one machine to another."""
    return f"{float(f'{value:.{DIGITS}g}'):,.10g}"


def _idle(curves: Curves) -> dict[str, str]:
    bare, one, many = (curves.median("idle", "CPU of Redis", queues) for queues in (0, 1, 100))
    return {
        "bare_us": rough(bare),
        "idle_us": rough(one - bare),
        "idle_queue_us": rough((many - one) / (100 - 1)),
        "idle_daemons": rough(SECOND_US / (one - bare)),
    }


def _costs(curves: Curves) -> str:
    rows = (
        ("take a job in, one call for each", ONE_BY_ONE, 0),
        ("take a job in, in bulk (`enqueue_many`, `map`)", IN_BULK, 0),
        ("hand it out and settle it, 128 jobs a call", FULL, MOST),
        ("the same, outcomes kept", KEPT, MOST),
        ("the same, 10 jobs a call", TEN, MOST),
        ("the same, one job a call", ALONE, MOST),
    )
    return _table(
        ("what the server does", "CPU of Redis, us/job"),
        [(what, _ranged(curves.figure("fleet", f"{load}: CPU of Redis", at))) for what, load, at in rows],
    )


def _loads(curves: Curves) -> str:
    busiest = _busiest(curves)
    busy = curves.median("fleet", f"{FULL}: Redis is busy", busiest["at"])
    work_us, alone_us = curves.redis_us(FULL, MOST), curves.redis_us(ALONE, MOST)
    one_us, bulk_us = curves.redis_us(ONE_BY_ONE), curves.redis_us(IN_BULK)
    measured = f"measured with {busiest['at']:g} simulated daemons: Redis' thread is {busy:.0%} busy"
    on_paper = (
        ("busy daemons, outcomes kept", curves.redis_us(KEPT, MOST), "from the CPU per job"),
        ("busy daemons, jobs sent in bulk", work_us + bulk_us, "both costs added"),
        ("busy daemons, jobs sent one by one", work_us + one_us, f"sending is {one_us / (work_us + one_us):.0%} of it"),
        ("every job alone in its calls, sent one by one", alone_us + one_us, "the worst that there is"),
    )
    rows = [("busy daemons, jobs already there", rough(busiest["median"]), measured)]
    rows += [(load, rough(SECOND_US / cost_us), f"on paper: {how}") for load, cost_us, how in on_paper]
    return _table(("load", "jobs/s", ""), rows)


def _busiest(curves: Curves) -> dict[str, Any]:
    return curves.best("fleet", f"{FULL}: rate")


def _ranged(figure: Mapping[str, Any]) -> str:
    median, low, high = (rough(float(figure[key])) for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown.table(head, rows))
