"""Progress of jobs that run in a real daemon, read by their producers while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import QUEUE, FaultQueue
from support.waiting import eventually, eventually_async
from workd import AsyncClient, Client
from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server
    from workd.client.handle import Handle
    from workd.client.progress import JobProgress

TASKS = ("support.fault_tasks", "support.stop_tasks")


@pytest.fixture
def queue(server: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(server, tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def daemon(queue: FaultQueue) -> Iterator[DaemonProcess]:
    with DaemonProcess(queue.server.url, queue.folder, workers=3, lease_s=3, modules=TASKS) as daemon:
        daemon.wait_ready()
        yield daemon


def said(handle: Handle[Any], note: str) -> JobProgress:
    """Wait until a job has said this."""

    def found() -> JobProgress | None:
        progress = handle.progress()
        return progress if progress is not None and progress.note == note else None

    progress = eventually(found)
    assert progress is not None
    return progress


def test_the_last_of_thousands_of_reports_can_be_read_while_the_job_runs(
    queue: FaultQueue, daemon: DaemonProcess
) -> None:
    with Client(queue.server.url) as client:
        one, two = (client.enqueue("reporting", f"gate-{n}", 10_000) for n in range(2))
        silent = client.enqueue("quick")
        silent.get(timeout=20)
        assert silent.progress() is None
        for handle in (one, two):
            found = said(handle, "half")
            assert (found.done, found.total, found.fraction) == (5_000, 10_000, 0.5)
            assert (found.attempt, found.delivery, found.daemon) == (1, 1, daemon.daemon_id)
        queue.open_gate("gate-0")
        said(one, "whole")
        unchanged = two.progress()
        assert unchanged is not None
        assert unchanged.note == "half"
        for gate in ("gate-1", "gate-0-end", "gate-1-end"):
            queue.open_gate(gate)
        assert (one.get(timeout=20), two.get(timeout=20)) == ("done", "done")


def test_what_a_silent_job_said_last_stays_readable_as_long_as_it_runs(
    queue: FaultQueue, daemon: DaemonProcess
) -> None:
    with Client(queue.server.url) as client:
        handle = client.enqueue("listen")
        queue.run(handle.id)
        eventually(handle.progress)
        key = keys.progress(QUEUE, handle.id)
        queue.client.pexpire(key, 200)
        eventually(lambda: not queue.client.exists(key))
        queue.client.client_kill_filter(_type="normal", skipme=True)  # a new session shows it anew
        eventually(handle.progress)
        assert handle.cancel() == "asked"
        handle.wait(timeout=10)


def test_coroutines_in_one_worker_have_each_their_own(queue: FaultQueue, daemon: DaemonProcess) -> None:
    with Client(queue.server.url) as client:
        handles = {gate: client.enqueue("linger_on", gate) for gate in ("coroutine-1", "coroutine-2", "coroutine-3")}
        for gate, handle in handles.items():
            assert said(handle, gate).fraction == 0.5
            queue.open_gate(gate)
            assert handle.get(timeout=20) == "through"


async def test_the_asynchronous_client_reads_it_too(queue: FaultQueue, daemon: DaemonProcess) -> None:
    async with AsyncClient(queue.server.url) as client:
        handle = await client.enqueue("listen")
        found: JobProgress | None = await eventually_async(handle.progress)
        assert found is not None
        assert (found.done, found.total, found.note) == (1, 4, "listening")
        assert await handle.cancel() == "asked"
        assert await handle.wait(timeout=10)
