"""How quickly a daemon answers over HTTP while every core is busy with its workers.

    python tests/bench/probes.py [--requests 2000] [--pages /readyz /metrics]

A worker for each core runs a task that does nothing but compute; the prober connects anew for each request, as probes
do, and rests a few milliseconds between two. What is printed is what docs/metrics.md says.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

FOLDER = str(Path(__file__).parent)
sys.path[:] = [str(Path(FOLDER).parent), *(entry for entry in sys.path if entry != FOLDER)]

from support.daemons import DaemonProcess  # noqa: E402 - found through the line above
from support.scraping import Scraper  # noqa: E402
from support.servers import Server, valkey_binary  # noqa: E402
from support.waiting import eventually  # noqa: E402
from workd import Client  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGES = ("/livez", "/readyz", "/consuming", "/metrics", "/status")
REST_S = 0.003
WARM_UP = 20
COMMANDS = 30


def main() -> None:
    """Measure with idle workers, then with busy ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="for each page")
    parser.add_argument("--pages", nargs="+", default=PAGES)
    options = parser.parse_args()
    cores, scraper = len(os.sched_getaffinity(0)), Scraper()
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(valkey_binary()) as server,
        DaemonProcess(server.url, Path(folder), http=scraper.address, workers=cores) as daemon,
        Client(server.url) as client,
    ):
        daemon.wait_ready()
        print(f"{cores} cores, {cores} workers; milliseconds{'p50':>12}{'p99':>9}{'max':>9}")
        _measure("idle", scraper, options.pages, options.requests // 4)
        for _ in range(cores):
            client.enqueue("hang", "spin", 3600)
        eventually(lambda: scraper.value("workd_workers_busy") == cores, 30)
        _measure("busy", scraper, options.pages, options.requests)
        _print("busy, workd health", [_time_s(lambda: _command(scraper.address)) for _ in range(COMMANDS)])


def _measure(state: str, scraper: Scraper, pages: Sequence[str], count: int) -> None:
    for page in pages:
        times_s = []
        for number in range(count + WARM_UP):
            time.sleep(REST_S)
            taken_s = _time_s(lambda page=page: scraper.get(page))  # type: ignore[misc]  # a default is bound now
            if number >= WARM_UP:
                times_s.append(taken_s)
        _print(f"{state}, {page}", times_s)


def _time_s(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _command(address: str) -> None:
    subprocess.run([sys.executable, "-m", "workd", "health", "--http", address], check=True, stdout=subprocess.DEVNULL)


def _print(name: str, times_s: Sequence[float]) -> None:
    cuts = statistics.quantiles(times_s, n=100, method="inclusive")
    print(f"{name:<35}" + "".join(f"{value * 1000:9.1f}" for value in (cuts[49], cuts[98], max(times_s))))


if __name__ == "__main__":
    main()
