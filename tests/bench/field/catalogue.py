"""The systems that are compared: how each one's workers are started, what it promises, and how it is set.

Settings are those that the system's own documentation gives for speed, and logs are quiet: no system pays for lines
that nobody reads. `jobs` is how many are drained: enough for some seconds each, and so fewer where jobs take longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = "workd"
WORKERS = 2
PEERS, PEERS_REDIS5 = "peers", "peers-redis5"


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table. In `command`, {bin} is the folder of its programs and {url} the server's address."""

    name: str
    title: str
    delivery: str
    crash: str
    """What becomes of a job whose worker is killed, with these settings."""
    settings: str
    command: tuple[str, ...]
    packages: tuple[str, ...]
    jobs: int
    module: str = ""
    venv: str = PEERS
    commands: int = 1
    """How many such commands make two worker processes."""
    bulk: bool = True
    cpu_jobs: int = 2_000
    cpu_words: tuple[str, ...] = ()
    """Added to the command where jobs use the CPU."""
    samples: int = 300
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def adapter(self) -> str:
        """The name of its module in `systems`."""
        return self.module or self.name

    def words(self, folder: str, url: str, *, cpu: bool = False) -> list[str]:
        """Return the command that starts its workers, for jobs that use the CPU or for others."""
        return [word.format(bin=folder, url=url) for word in (*self.command, *(self.cpu_words if cpu else ()))]


def _module(name: str) -> str:
    return f"bench.field.systems.{name}"


SYSTEMS = (
    System(
        name=OURS,
        title="workd",
        delivery="at least once",
        crash="runs again at once, three times at the most",
        settings="defaults, without HTTP",
        command=(
            *("{bin}/python", "-m", "workd", "run", _module("workd_jobs")),
            *("--redis-url", "{url}", "--workers", str(WORKERS), "--http", ""),
        ),
        packages=("workd", "redis", "hiredis"),
        jobs=60_000,
        venv="",
    ),
    System(
        name="dramatiq",
        title="Dramatiq",
        delivery="at least once",
        crash="runs again when its process has given no sign for 60 s",
        settings="2 processes, 8 threads (2 where jobs use the CPU) and 200 messages prefetched each",
        command=("{bin}/dramatiq", _module("dramatiq"), "--processes", str(WORKERS)),
        packages=("dramatiq", "redis", "hiredis"),
        jobs=20_000,
        cpu_words=("--threads", str(WORKERS)),
        environment={"dramatiq_queue_prefetch": "200"},
    ),
    System(
        name="huey",
        title="Huey",
        delivery="at most once",
        crash="is lost",
        settings="2 processes, blocking reads, quiet, no periodic tasks",
        command=("{bin}/huey_consumer", f"{_module('huey')}.huey", "-k", "process", "-w", str(WORKERS), "-q", "-n"),
        packages=("huey", "redis", "hiredis"),
        jobs=20_000,
        bulk=False,
    ),
    *(
        System(
            name=f"taskiq-{broker}",
            title=f"TaskIQ, {broker}",
            delivery=delivery,
            crash=crash,
            settings="2 processes, uvloop, quiet, arguments not parsed",
            command=(
                *("{bin}/taskiq", "worker", f"{_module('taskiq')}:broker", "--workers", str(WORKERS)),
                *("--log-level", "WARNING", "--no-parse"),
            ),
            packages=("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"),
            jobs=10_000,
            module="taskiq",
            environment={"BENCH_TASKIQ_BROKER": broker},
        )
        for broker, delivery, crash in (
            ("list", "at most once", "is lost"),
            ("stream", "at least once", "runs again once it was pending for 10 minutes"),
        )
    ),
    System(
        name="saq",
        title="SAQ",
        delivery="late ack",
        crash="is aborted after its timeout of 10 s; runs again only if it was given retries, which is not the default",
        settings="2 processes, 32 jobs at once each, uvloop, quiet",
        command=("{bin}/saq", f"{_module('saq')}.settings", "--workers", str(WORKERS), "--quiet"),
        packages=("saq", "redis", "hiredis", "uvloop"),
        jobs=8_000,
        venv=PEERS_REDIS5,
    ),
    System(
        name="arq",
        title="arq",
        delivery="at least once",
        crash="runs again when its mark expires, after the job timeout and 10 s: 310 s",
        settings="2 processes, 100 jobs at once each, polls every 5 ms, uvloop, quiet",
        command=("{bin}/arq", f"{_module('arq')}.WorkerSettings", "--custom-log-dict", f"{_module('arq')}.QUIET"),
        packages=("arq", "redis", "hiredis", "uvloop"),
        jobs=6_000,
        venv=PEERS_REDIS5,
        commands=WORKERS,
    ),
    System(
        name="streaq",
        title="streaQ",
        delivery="at least once",
        crash="runs again once it was pending for 60 s",
        settings="2 processes, 32 jobs at once each, uvloop, silent tasks",
        command=("{bin}/streaq", "run", f"{_module('streaq')}:worker", "--workers", str(WORKERS)),
        packages=("streaq", "coredis", "uvloop"),
        jobs=6_000,
        samples=100,
    ),
    *(
        System(
            name=f"celery-{acks}",
            title=f"Celery prefork, {words}",
            delivery=delivery,
            crash=crash,
            settings="2 processes, 64 prefetched each, no gossip, mingle or heartbeat",
            command=(
                *("{bin}/celery", "-A", _module("celery"), "worker", "-c", str(WORKERS), "-l", "WARNING"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ),
            packages=("celery", "kombu", "redis", "hiredis"),
            jobs=3_000,
            module="celery",
            environment={"BENCH_CELERY_ACKS": acks},
        )
        for acks, words, delivery, crash in (
            (
                *("late", "late ack", "at least once"),
                "runs again an hour after the death of the whole worker; is lost if only one pool process died",
            ),
            ("early", "default", "at most once", "is lost"),
        )
    ),
    System(
        name="rq-simple",
        title="RQ SimpleWorker",
        delivery="at most once",
        crash="ends among the failed jobs; runs again only if it was given retries",
        settings="2 processes, quiet",
        command=("{bin}/rq", "worker", "bench", "--url", "{url}", "-w", "rq.SimpleWorker", "-q"),
        packages=("rq", "redis", "hiredis"),
        jobs=1_500,
        module="rq",
        commands=WORKERS,
        cpu_jobs=1_000,
    ),
    System(
        name="rq-fork",
        title="RQ, a fork per job",
        delivery="at most once",
        crash="ends among the failed jobs; runs again only if it was given retries",
        settings="2 processes, quiet",
        command=("{bin}/rq", "worker", "bench", "--url", "{url}", "-q"),
        packages=("rq", "redis", "hiredis"),
        jobs=200,
        module="rq",
        commands=WORKERS,
        cpu_jobs=200,
        samples=100,
    ),
)
BY_NAME = {system.name: system for system in SYSTEMS}
