"""Whatever a server refuses, and for whatever reason: the daemon says so and waits, and no job is lost or runs twice.

What moves between servers (MOVED, ASK, CLUSTERDOWN) is in tests/integration/test_cluster.py, keys of the wrong type are
in test_redis_outages.py, and each refusal of each call is in tests/integration/test_rights.py.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from support import moods
from support.daemons import DaemonProcess
from support.fault_queue import message
from support.waiting import eventually
from workd.consumer import REDIS_TROUBLE

if TYPE_CHECKING:
    from pathlib import Path

    from support.fault_queue import FaultQueue

REFUSING = [
    (moods.busy, "BUSY"),
    (moods.loading, "LOADING"),
    (moods.read_only, "READONLY"),
    (moods.without_its_master, "MASTERDOWN"),
    (moods.without_replicas, "NOREPLICAS"),
    (moods.crowded, "max number of clients"),
    (moods.another_password, "WRONGPASS"),
    (moods.another_user, "NOPERM"),
    (moods.no_user, ""),  # at first the connection has gone, later the password is wrong
    (moods.cut_connections, ""),
]


@pytest.mark.parametrize(("mood", "said"), REFUSING, ids=lambda part: getattr(part, "__name__", ""))
def test_a_daemon_says_what_it_is_refused_and_goes_on_when_it_is_not(
    lasting_queue: FaultQueue, tmp_path: Path, mood: moods.Mood, said: str
) -> None:
    queue = lasting_queue
    with DaemonProcess(moods.url_of(queue.server), tmp_path) as daemon:
        daemon.wait_ready()
        running = queue.push("hold", "gate")
        queue.run(running)
        with mood(queue.server):
            queue.open_gate("gate")  # it ends while nothing can be recorded
            eventually(lambda: any(said in line["error"] for line in daemon.log(REDIS_TROUBLE)), timeout_s=40)
        again = queue.push("quick", 1)
        queue.succeeded(again, attempts=1, deliveries=1, timeout_s=15)
        queue.succeeded(running, attempts=1, deliveries=1, timeout_s=15)
        assert set(Counter(run.id for run in queue.runs()).values()) == {1}
        queue.assert_empty()
        assert moods.PASSWORD not in daemon.log_text()
        daemon.term()
        assert daemon.wait() == 0


@pytest.mark.parametrize("mood", [moods.killed_scripts, moods.forgotten_scripts, moods.full])
def test_jobs_run_once_each_while_the_server_is_in_a_mood(
    lasting_queue: FaultQueue, tmp_path: Path, mood: moods.Mood
) -> None:
    """Moods in which work goes on: between two of them, or in spite of them."""
    queue = lasting_queue
    with DaemonProcess(moods.url_of(queue.server), tmp_path) as daemon:
        daemon.wait_ready()
        jobs = queue.push_together(*[message("soak", 0.002, number) for number in range(400)])
        with mood(queue.server):
            outcomes = queue.all_ended(jobs, timeout_s=30)
        assert {outcome["status"] for outcome in outcomes.values()} == {"succeeded"}
        assert set(Counter(run.id for run in queue.runs()).values()) == {1}
        queue.assert_empty()
        assert daemon.alive
