"""Where each microsecond of a no-op job goes: `python tests/bench/budget`.

Two drains of the same queue: one as it is, for the totals (from /proc), and one whose processes sample themselves, for
how a total is divided. The `±` beside a line is the standard error of its share: with more --jobs it gets smaller.

    python tests/bench/budget                  jobs without an option
    python tests/bench/budget --results        with their results kept
    python tests/bench/budget --top 40         beside the groups, the 40 dearest functions and lines of each process

What Redis' commands took is its own count, by the clock on the wall: on a machine whose cores are all busy it is more
than their CPU time, so it is scaled down to the CPU time of the server where it is over it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

FOLDER = str(Path(__file__).parent)
sys.path[:] = [str(Path(FOLDER).parents[1]), *(entry for entry in sys.path if entry != FOLDER)]

from bench.budget import groups, report, samples  # noqa: E402 - found through the line above
from bench.through_redis import DaemonError, drain  # noqa: E402
from support.servers import Server, valkey_binary  # noqa: E402


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", action="store_true", help="keep the results in Redis")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="show the N dearest functions and lines, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workd-budget-") as name, Server(valkey_binary()) as server:
        folder = Path(name)
        plain, sampled = (
            drain(server, options.jobs, options.workers, results=options.results, environment=environment)
            for environment in (os.environ, samples.environment(folder))
        )
        what = "kept" if options.results else "not asked for"
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.workers} workers, results {what}")
        print(f"{1 / plain.job_s:,.0f} jobs/s ({1 / sampled.job_s:,.0f} while sampled), {plain.jobs:,} jobs")
        for title, pids, cpu, rules in (
            ("Supervisor", (sampled.supervisor_pid,), plain.supervisor, groups.SUPERVISOR),
            ("Workers", sampled.worker_pids, plain.workers, groups.WORKER),
        ):
            found = [sample for pid in pids for sample in samples.read(folder, pid, sampled.since, sampled.until)]
            report.show_process(title, found, cpu, plain.jobs, rules)
            if options.top:
                report.show_dearest(found, cpu, plain.jobs, options.top)
        report.show_redis(plain)
        report.show_total(plain)


if __name__ == "__main__":
    try:
        main()
    except DaemonError as error:
        sys.exit(f"budget: {error}")
