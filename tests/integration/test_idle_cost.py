"""What a daemon with nothing to do sends to Redis: 2 commands a second at most, and 0.5 for each further queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from workd.broker import keys

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

LEASE_S = 15  # the default
WATCHED_S = 12.0  # so that all that is done seldom is in it
START_S = 1.0


@pytest.mark.parametrize("count", [1, 10])
def test_an_idle_daemon_sends_few_commands(valkey: Server, tmp_path: Path, count: int) -> None:
    names = ["default", *(f"q{number}" for number in range(1, count))]
    settings = {"queues": ",".join(names), "lease_s": LEASE_S}
    with DaemonProcess(valkey.url, tmp_path, modules=("workd_tasks.samples",), **settings) as daemon:  # type: ignore[arg-type]
        daemon.wait_ready()
        client = valkey.client()
        time.sleep(START_S)  # what a session begins with is over
        sent: list[str] = []
        end = time.monotonic() + WATCHED_S
        with client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's
            for command in monitor.listen():
                if command["client_type"] != "lua":
                    sent.append(str(command["command"])[:60])
                if time.monotonic() > end:  # something comes every second
                    break
        assert len(sent) / WATCHED_S <= 2 + 0.5 * (count - 1), sent
        leases = {queue: client.hvals(keys.leases(queue)) for queue in names}
        seconds, micros = client.time()
        assert all(int(value[0]) > seconds * 1000 + micros // 1000 for value in leases.values()), leases
