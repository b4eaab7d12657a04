"""One daemon on several queues: their order, and what each keeps for itself."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from support.daemons import DaemonProcess
from support.waiting import eventually
from workd import Client
from workd.broker import keys
from workd_tasks import samples

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

QUEUES = "urgent,default"


def test_the_first_queue_is_served_before_the_others(valkey: Server, tmp_path: Path) -> None:
    connection = valkey.client()
    message = {"task": "sleep", "args": [0.05], "result_ttl": 60}
    for queue in ("default", "urgent"):  # both are there before anybody reads
        for number in range(6):
            job = message | {"id": f"{queue}-{number}"}
            connection.xadd(keys.stream(queue), {"m": json.dumps(job)})
    with DaemonProcess(valkey.url, tmp_path, modules=("workd_tasks.samples",), queues=QUEUES, workers=1) as daemon:
        daemon.wait_ready()
        eventually(lambda: connection.xlen(keys.stream("default")) == 0, timeout_s=40)
        ended = {}
        for queue in ("default", "urgent"):
            for number in range(6):
                raw = connection.get(keys.result(queue, f"{queue}-{number}"))
                ended[queue, number] = json.loads(raw)["ended_at"]  # type: ignore[arg-type]  # bytes by default
        order = sorted(ended, key=lambda job: ended[job])
        assert order == [("urgent", number) for number in range(6)] + [("default", number) for number in range(6)]
        daemon.term()
        assert daemon.wait() == 0
    for queue in ("default", "urgent"):
        assert connection.hgetall(keys.leases(queue)) == {}
        assert connection.xinfo_consumers(keys.stream(queue), keys.GROUP) == []


def test_each_queue_wakes_an_idle_daemon_and_answers_its_own_clients(valkey: Server, tmp_path: Path) -> None:
    inboxes = "urgent,default"
    with (
        DaemonProcess(
            valkey.url, tmp_path, modules=("workd_tasks.samples",), queues=QUEUES, inbox_queues=inboxes
        ) as daemon,
        Client(valkey.url) as client,
    ):
        daemon.wait_ready()
        for queue in ("default", "urgent", "default"):
            assert client.with_options(queue=queue).enqueue(samples.square, 4).get(timeout=20) == 16
        connection = valkey.client()
        for queue in ("default", "urgent"):
            pushed = {"task": "square", "args": [5], "result_ttl": 60, "id": "pushed"}
            connection.rpush(keys.inbox(queue), json.dumps(pushed))
            assert eventually(partial(connection.get, keys.result(queue, "pushed")))


def test_weighted_queues_share_the_workers_by_their_weights(valkey: Server, tmp_path: Path) -> None:
    connection = valkey.client()
    count = 40
    for queue in ("bulk", "urgent"):
        for number in range(count):
            job = {"task": "sleep", "args": [0.01], "result_ttl": 60, "id": f"{queue}-{number}"}
            connection.xadd(keys.stream(queue), {"m": json.dumps(job)})
    settings = {"queues": "bulk,urgent", "queue_weights": "urgent=3", "workers": 1}
    with DaemonProcess(valkey.url, tmp_path, modules=("workd_tasks.samples",), **settings) as daemon:  # type: ignore[arg-type]
        daemon.wait_ready()
        eventually(lambda: connection.xlen(keys.stream("urgent")) == 0, timeout_s=40)
        # What the daemon has fetched ahead may not have started: a few jobs, for one worker.
        ended = sum(bool(connection.exists(keys.result("bulk", f"bulk-{number}"))) for number in range(count))
        assert count / 3 - 8 <= ended <= count / 3 + 8
        eventually(lambda: connection.xlen(keys.stream("bulk")) == 0, timeout_s=40)
