"""Fixtures of the fault tests: a queue on a real Valkey, and a factory of daemons that are all ended at the end."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.servers import Server, valkey_binary

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
