"""An owner for tests of the pool: it writes down what it is told and lets a test wait for it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from support.processes import children, descriptors
from workd.pool.core import ProcessPool
from workd.pool.frames import encode_job
from workd.pool.owner import PoolOptions
from workd.pool.requests import LoadSpec
from workd.pool.slot import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from workd.errors import PoolError
    from workd.pool.deaths import Lost
    from workd.pool.parsing import Frame


TESTS = Path(__file__).parents[1]
SEARCH_PATH = (str(TESTS),)

uvloop.new_event_loop().close()  # with its first loop a process gets a pipe of libuv's that stays


class Recorder:
    """Keeps each job's end in a future."""

    def __init__(self) -> None:
        """Make an owner without a pool; `pool` is set by `running_pool`."""
        self.pool: ProcessPool
        self.ends: dict[int, asyncio.Future[Any]] = {}
        self.order: list[int] = []
        self.returned: list[Job] = []
        self.changed = asyncio.Event()
        self.task = ""  # what all operations are called; empty: each by its own name

    def on_result(self, job: Job, frame: Frame) -> None:
        """Keep a value."""
        self.order.append(job.key)
        self.ends[job.key].set_result(json.loads(frame.payload))

    def on_lost(self, job: Job, how: Lost) -> None:
        """Keep a death."""
        self.order.append(job.key)
        self.ends[job.key].set_result(how)

    def on_returned(self, jobs: list[Job]) -> None:
        """Keep what came back unstarted."""
        self.returned.extend(jobs)
        for job in jobs:
            self.ends[job.key].cancel()

    def on_unstartable(self, jobs: list[Job], cause: PoolError) -> None:
        """Keep why nobody could run them."""
        for job in jobs:
            self.ends[job.key].set_result(cause)

    def on_room(self) -> None:
        """Do nothing."""

    def on_change(self) -> None:
        """Wake whoever waits for the pool's state."""
        self.changed.set()

    def submit(self, *operation: Any, **limits: Any) -> asyncio.Future[Any]:
        """Submit one operation and return the future of its end."""
        return self.submit_many([operation], **limits)[0]

    def submit_many(
        self, operations: list[tuple[Any, ...]], *, timeout_s: float | None = None, **limits: Any
    ) -> list[asyncio.Future[Any]]:
        """Submit operations in one call and return the futures of their ends."""
        jobs = []
        for operation in operations:
            key = self.pool.next_key()
            self.ends[key] = asyncio.get_running_loop().create_future()
            body = json.dumps(operation).encode()
            jobs.append(Job(key, body, self.task or str(operation[0]), timeout_s, **limits))
        self.pool.submit(jobs)
        return [self.ends[job.key] for job in jobs]

    async def run_task(self, task: str) -> Any:
        """Run a task without arguments, in a pool of the daemon's own workers."""
        key = self.pool.next_key()
        self.ends[key] = asyncio.get_running_loop().create_future()
        body = encode_job(b"id", task.encode(), 1, 1, json.dumps({"task": task}).encode())
        self.pool.submit([Job(key, body, task, None)])
        return await self.ends[key]

    async def until(self, condition: Any, timeout_s: float = 30.0) -> None:
        """Wait until `condition()` holds, looking again at each change and every 10 ms."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - conditions of other processes: nobody sets an event for them
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running_pool(size: int = 2, *, return_waiting: bool = False, **options: Any) -> AsyncIterator[Recorder]:
    """Run a pool of script workers; at the end nothing of it may be left."""
    owner = Recorder()
    spec = LoadSpec(
        "support.pool_runner:make", options.pop("modules", ()), options=options.pop("runner", {}), path=SEARCH_PATH
    )
    before = left_overs()
    launched = options.pop("forkserver", None)
    owner.pool = ProcessPool(owner, PoolOptions(size, spec, return_waiting=return_waiting, **options), launched)
    forkserver = owner.pool.boots.servers.current
    try:
        await owner.pool.start()
        yield owner
    finally:
        await owner.pool.stop(kill=True)
        assert_nothing_new(before)
        assert forkserver._process.returncode is not None, "the forkserver is a zombie"


LeftOvers = dict[str, Counter[str]]


def left_overs() -> LeftOvers:
    """Return what a pool may not leave behind: descriptors, threads and children of this process."""
    gc.collect()
    threads = (t.name for t in threading.enumerate() if not t.name.startswith(("asyncio_", "uvloop_")))
    return {
        "descriptors": Counter(f"{fd} {link}" for fd, link in descriptors().items()),
        "threads": Counter(threads),
        "children": Counter(str(child) for child in children(os.getpid())),
    }


def new_since(before: LeftOvers) -> dict[str, list[str]]:
    """Return what is there that was not there before. (What is gone may be another test's.)"""
    after = left_overs()
    return {kind: sorted(new) for kind in after if (new := after[kind] - before[kind])}


def assert_nothing_new(before: LeftOvers) -> None:
    """Fail if something was left behind."""
    # Not among them: semaphores, which are the machine's. That a pool has none is a test of its own (fault, channels).
    new = new_since(before)
    assert not new, f"left behind: {new}"
