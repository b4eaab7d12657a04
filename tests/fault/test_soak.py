"""Everything at once, at random: workers, forkservers and daemons die under load, and every job ends exactly once.

The seed is printed with a failure. FAULT_SOAK_SEED repeats one (as far as processes can be repeated), and
FAULT_SOAK_S makes it longer.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from support.fault_queue import QUEUE, message
from workd.broker import keys

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.daemons import DaemonProcess
    from support.fault_queue import FaultQueue

SOAK_S = float(os.environ.get("FAULT_SOAK_S", "12"))
LEASE_S = 1.0
DAEMONS = 2
ENOUGH_S = 45.0  # for the last of it to end, on a busy machine


class Soak:
    """The load and the accidents of one soak."""

    def __init__(self, queue: FaultQueue, start_daemon: StartDaemon, dice: random.Random) -> None:
        self._queue = queue
        self._start_daemon = start_daemon
        self._dice = dice
        self.daemons: list[DaemonProcess] = []
        self.told_to_stop: list[DaemonProcess] = []
        self.jobs: list[str] = []
        self.accidents: Counter[str] = Counter()

    def run(self) -> None:
        """Push jobs and have accidents for a while; whoever ends is replaced at once."""
        self.daemons = [self._new_daemon(ready=True) for _ in range(DAEMONS)]
        end = time.monotonic() + SOAK_S
        while time.monotonic() < end:
            self._push()
            time.sleep(self._dice.uniform(0.05, 0.3))  # the rhythm of the accidents
            accident = self._dice.choices(
                [self._kill_worker, self._kill_forkserver, self._kill_daemon, self._stop_daemon, self._cut],
                [8, 2, 2, 1, 2],
            )[0]
            accident(self._dice.choice(self.daemons))
            self.accidents[accident.__name__] += 1

    def _new_daemon(self, *, ready: bool = False) -> DaemonProcess:
        return self._start_daemon(ready=ready, lease_s=LEASE_S, drain_s=0.2, max_takeovers=100)

    def _push(self) -> None:
        dice, queue = self._dice, self._queue
        times = [dice.choice([0.0, 0.0, 0.001, 0.02, 0.2]) for _ in range(dice.randrange(1, 10))]
        self.jobs += queue.push_together(*[message("soak", run_s, 0) for run_s in times])
        for way in ("stream", "inbox"):
            name = f"{way}-{secrets.token_hex(4)}"
            raw = message("soak", dice.choice(times), 0, id=name)
            if way == "inbox":
                queue.client.rpush(keys.inbox(QUEUE), raw)
            else:
                queue.push_raw(raw)
            self.jobs.append(name)
        self.jobs.append(queue.push("fail_until", dice.randrange(1, 4)))

    def _kill_worker(self, daemon: DaemonProcess) -> None:
        self._kill_one_of(daemon, daemon.worker_pids())

    def _kill_forkserver(self, daemon: DaemonProcess) -> None:
        self._kill_one_of(daemon, daemon.forkserver_pids())

    def _kill_one_of(self, daemon: DaemonProcess, pids: list[int]) -> None:
        if pids and daemon.log("ready"):  # a first boot that fails ends a daemon, as it should
            with suppress(ProcessLookupError):
                os.kill(self._dice.choice(pids), signal.SIGKILL)

    def _kill_daemon(self, daemon: DaemonProcess) -> None:
        daemon.kill()
        self._replace(daemon)

    def _stop_daemon(self, daemon: DaemonProcess) -> None:
        if daemon.log("starting"):  # before that a signal ends it as it ends any program
            daemon.term()
            self.told_to_stop.append(daemon)
            self._replace(daemon)

    def _cut(self, _daemon: DaemonProcess) -> None:
        self._queue.kill_connections()

    def _replace(self, daemon: DaemonProcess) -> None:
        self.daemons[self.daemons.index(daemon)] = self._new_daemon()


def test_whatever_dies_every_job_ends_exactly_once_and_every_run_is_counted(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    seed = int(os.environ.get("FAULT_SOAK_SEED") or secrets.randbits(32))
    soak = Soak(queue, start_daemon, random.Random(seed))
    soak.run()
    print(f"FAULT_SOAK_SEED={seed}: {len(soak.jobs)} jobs, {dict(soak.accidents)}")  # noqa: T201 - shown if it fails

    outcomes = queue.all_ended(soak.jobs, timeout_s=ENOUGH_S)

    assert {outcome["status"] for outcome in outcomes.values()} <= {"succeeded", "dead"}
    dead = [outcome["id"] for outcome in outcomes.values() if outcome["status"] == "dead"]
    assert sorted(letter["id"].decode() for letter in queue.dead_letters()) == sorted(dead)
    assert {letter["reason"] for letter in queue.dead_letters()} <= {b"crashed"}
    runs = Counter(run.id for run in queue.runs())
    uncounted = {job: (runs[job], outcomes[job]) for job in soak.jobs if runs[job] > outcomes[job]["deliveries"]}
    assert not uncounted, "a job was run more often than its outcome says"
    assert [daemon.wait() for daemon in soak.told_to_stop] == [0] * len(soak.told_to_stop)
    assert all(daemon.alive for daemon in soak.daemons)
    queue.assert_empty()
