"""One run: a fresh server, a folder for reports, a system's workers and its producer, and no trace of them after it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import processes
from bench.field import leftovers, surroundings
from bench.field.journal import Reader, Totals
from bench.machine import server_binary
from support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.field.catalogue import System
    from bench.field.surroundings import Results

TESTS = Path(__file__).parents[2]
POLL_S = 0.002
STOP_S = 1.0  # nobody waits for what they would still do
TAIL_LINES = 6


class RunError(Exception):
    """A system did not do what it was asked for; the text says what, and the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What had been done and used at a moment."""

    at_s: float
    jobs: int
    worker_cpu_s: float
    redis_cpu_s: float
    redis_calls: int
    redis_reads: int


class Run:
    """Made by `running`; used by the scenes."""

    def __init__(self, system: System, programs: Path, server: Server, folder: Path, results: Results) -> None:
        """Take a server that runs and a folder that is empty."""
        reports = folder / "reports"
        reports.mkdir()
        self.started_ns = 0
        self._system = system
        self._programs = programs
        self._folder = folder
        self._url = server.url
        self._reader = Reader(reports)
        self._redis = server.client()
        self._mark = secrets.token_hex(8)
        self._environment = environment_of(system) | {
            surroundings.MARK: self._mark,
            surroundings.URL: server.url,
            surroundings.FOLDER: str(reports),
            surroundings.RESULTS: results.value,
        }
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """The roots of the trees of processes on the workers' side."""
        return [process.pid for process in self._workers]

    @property
    def totals(self) -> Totals:
        """What the jobs have reported."""
        return self._reader.totals()

    def produce(self, *arguments: str, timeout_s: float = 120.0) -> Any:
        """Run the producer and return what it printed."""
        return produce(self._system, self._programs, self._environment, *arguments, timeout_s=timeout_s)

    def start_workers(self, *, cpu: bool = False) -> None:
        """Start two worker processes, as the system does that; `cpu`: for jobs that use it."""
        words = self._system.words(str(self._programs), self._url, cpu=cpu)
        self.started_ns = time.monotonic_ns()
        with (self._folder / "log").open("ab") as log:
            for _ in range(self._system.commands):
                self._workers.append(
                    subprocess.Popen(
                        words,
                        cwd=self._folder,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def wait_jobs(self, count: int, timeout_s: float) -> None:
        """Return once so many jobs have ended."""
        deadline = time.monotonic() + timeout_s
        while (done := self.totals.jobs) < count:
            if any(process.poll() is not None for process in self._workers):
                raise RunError(f"its workers ended after {done} of {count} jobs{self._tail()}")
            if time.monotonic() > deadline:
                raise RunError(f"{done} of {count} jobs were done within {timeout_s:g} s{self._tail()}")
            time.sleep(POLL_S)

    def snapshot(self) -> Snapshot:
        """Return what has been done and used until now."""
        at_s, jobs = time.monotonic(), self.totals.jobs
        cpu: dict[str, Any] = self._redis.info("cpu")
        stats: dict[str, Any] = self._redis.info("stats")
        commands: dict[str, Any] = self._redis.info("commandstats")
        return Snapshot(
            at_s,
            jobs,
            sum(processes.cpu(pid, and_of_reaped=True).total_s for pid in processes.tree(self.pids)),
            cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            sum(one["calls"] for one in commands.values()),
            stats["total_reads_processed"],
        )

    def stop(self) -> None:
        """End the workers, politely first, and whatever else was started here."""
        for process in self._workers:
            process.send_signal(signal.SIGTERM)
        for process in self._workers:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        leftovers.kill_marked(self._mark)
        for process in self._workers:
            process.wait()
        self._workers.clear()

    def _tail(self) -> str:
        lines = (self._folder / "log").read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "; its log ends: " + " | ".join(lines) if lines else ""


@contextmanager
def running(system: System, programs: Path, results: Results, *, appendonly: bool = False) -> Iterator[Run]:
    """Give a run of `system` on a server of its own; whatever was started in it is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="workd-peers-", ignore_cleanup_errors=True) as folder,
        Server(server_binary(), appendonly=appendonly) as server,
    ):
        run = Run(system, programs, server, Path(folder), results)
        try:
            yield run
        finally:
            run.stop()


def environment_of(system: System) -> dict[str, str]:
    """Return an environment in which a process of `system` finds the adapters, and compiled files are kept."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WORKD_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    own = [str(TESTS)] if system.venv else [str(TESTS), *(str(TESTS.parent / name) for name in ("daemon", "tasks"))]
    return inherited | {"PYTHONPATH": os.pathsep.join(own), "PYTHONUNBUFFERED": "1"} | dict(system.environment)


def produce(
    system: System, programs: Path, environment: dict[str, str], *arguments: str, timeout_s: float = 120.0
) -> Any:
    """Run the producer of a system and return what it printed."""
    command = [str(programs / "python"), "-P", "-m", "bench.field.producer", system.adapter, *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"its producer was not done with {arguments[0]} within {timeout_s:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()[-TAIL_LINES:]
        raise RunError(f"its producer failed at {arguments[0]}: " + " | ".join(lines))
    return json.loads(done.stdout.splitlines()[-1])


def programs_of(system: System, venvs: Path) -> Path:
    """Return the folder of the programs of the environment that a system is installed in."""
    folder = venvs / f".venv-{system.venv}" / "bin" if system.venv else Path(sys.executable).parent
    if not (folder / "python").exists():
        raise RunError(f"{system.title} needs {folder}, which is not there: `make bench-peers` makes it")
    return folder


def versions_of(system: System, programs: Path) -> dict[str, str]:
    """Return the versions of a system's packages, and have its adapter compiled."""
    nowhere = {surroundings.URL: "redis://127.0.0.1:1", surroundings.FOLDER: "/", surroundings.RESULTS: "off"}
    found: dict[str, str] = produce(system, programs, environment_of(system) | nowhere, "versions", *system.packages)
    return found
