"""Several real daemons beside one queue, and somebody who asks them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.daemons import DaemonProcess
from support.waiting import eventually
from workd.broker import keys
from workd.client.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.fault_queue import FaultQueue

TASKS = ("support.fault_tasks", "support.xray_tasks")
PATIENCE_S = 60.0  # for an answer of a daemon on a busy machine


@contextmanager
def fleet(queue: FaultQueue, count: int, **settings: object) -> Iterator[tuple[list[DaemonProcess], Admin]]:
    """Run daemons until all of them can be asked; the signing key of the asker is that of the daemons."""
    chosen: dict[str, Any] = {"workers": 2, "lease_s": 5, "modules": TASKS} | settings
    daemons = [DaemonProcess(queue.server.url, queue.folder, **chosen) for _ in range(count)]
    try:
        for daemon in daemons:
            daemon.start()
        for daemon in daemons:
            daemon.wait_ready()
        with Admin(queue.server.url) as admin:
            eventually(lambda: listeners(queue) == count and listed(queue) == count, PATIENCE_S)
            yield daemons, admin
    finally:
        for daemon in daemons:
            daemon.close()


def listeners(queue: FaultQueue) -> int:
    """Return how many hear questions."""
    [(_, count)] = queue.client.pubsub_numsub(keys.ASK)
    return int(count)


def listed(queue: FaultQueue) -> int:
    """Return how many show themselves."""
    return len(
        [name for name in queue.client.zrange(keys.DAEMONS, 0, -1) if queue.client.exists(b"workd:daemon:" + name)]
    )
