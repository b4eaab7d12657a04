"""Fixtures of the fault tests.

For the daemon a queue on a real Valkey, and a factory of daemons that are all ended at the end; for `workd.Pool` pools
that must be whole after each fault, and leave nothing behind.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.local_pools import assert_whole, nothing_left_behind, whole_afterwards
from support.servers import Server, valkey_binary
from workd import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StartDaemon(Protocol):
    """Starts a daemon on the test's server, waits until it is ready, and ends it with the test."""

    def __call__(self, *, ready: bool = True, **settings: object) -> DaemonProcess: ...


@pytest.fixture
def queue(valkey: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    """The default queue of an empty Valkey."""
    queue = FaultQueue(valkey, tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def lasting_server() -> Iterator[Server]:
    """A Valkey of the test's own, which keeps its data and may be stopped."""
    with Server(valkey_binary(), appendonly=True) as server:
        yield server


@pytest.fixture
def lasting_queue(lasting_server: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    """The default queue on that server."""
    queue = FaultQueue(lasting_server, tmp_path)
    yield queue
    queue.close()


@pytest.fixture
def start_daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartDaemon]:
    """The factory. A test that takes `lasting_queue` gets daemons on that queue's server."""
    mine = "lasting_queue" if "lasting_queue" in request.fixturenames else "queue"
    queue: FaultQueue = request.getfixturevalue(mine)
    with ExitStack() as stack:

        def start(*, ready: bool = True, **settings: object) -> DaemonProcess:
            daemon = DaemonProcess(queue.server.url, tmp_path, **settings)  # type: ignore[arg-type]
            stack.callback(daemon.close)
            daemon.start()
            return daemon.wait_ready() if ready else daemon

        yield start


# ── workd.Pool ──


class MakePool(Protocol):
    """Makes a pool that must be whole at the end of the test, if it still runs then, and leave nothing."""

    def __call__(self, processes: int = 2, **options: Any) -> Pool: ...


@pytest.fixture
def nothing_left() -> Iterator[str]:
    """Nothing that the test starts is there after it; gives the mark of its processes."""
    with nothing_left_behind() as mark:
        yield mark


@pytest.fixture
def make_pool(nothing_left: str) -> Iterator[MakePool]:
    """The factory."""
    pools: list[Pool] = []

    def make(processes: int = 2, **options: Any) -> Pool:
        pools.append(Pool(processes, **options))
        return pools[-1]

    try:
        yield make
        for pool in pools:
            if pool._state == "RUN":
                assert_whole(pool)
    finally:
        for pool in pools:
            pool.terminate()
            pool.join()


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[Pool]:
    """A pool of two that a module's tests share; take `pool` in a test."""
    with nothing_left_behind(), Pool(2) as pool:
        assert_whole(pool)  # and its workers have loaded what the tests call
        yield pool


@pytest.fixture
def pool(shared_pool: Pool) -> Iterator[Pool]:
    """A pool of two that has been through the faults of earlier tests, and must be whole after this one, too."""
    with whole_afterwards(shared_pool):
        yield shared_pool
