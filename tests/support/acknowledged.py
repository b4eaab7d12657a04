"""Jobs of which a server and its replica have both said that they have them, and what became of each.

A failover loses what only the old master had. So a job counts as enqueued when WAIT has answered that a replica has it;
until then it is sent again under the same id, which makes two of it one.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import redis

from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Callable

REPLIES = "failover"
SEND_S = 30.0
WAIT_MS = 500


class Acknowledged:
    """A producer of `square` jobs on one queue; `client` returns a client of whoever is the master now."""

    def __init__(self, client: Callable[[], redis.Redis], queue: str = "default") -> None:
        self._client = client
        self._queue = queue
        self._sent: list[str] = []
        self._replicated(("XADD", keys.reply(queue, REPLIES), "*", "w", ""))

    def send(self, count: int) -> None:
        """Enqueue so many jobs, one by one, each until it is on two servers."""
        for number in range(len(self._sent), len(self._sent) + count):
            job = {"task": "square", "args": [number], "id": f"job-{number}", "reply_to": REPLIES, "result_ttl": 600}
            self._replicated(("XADD", keys.stream(self._queue), "*", "m", json.dumps(job)))
            self._sent.append(f"job-{number}")

    def all_ended(self) -> bool:
        """Say whether every job has an outcome and the queue is empty."""
        try:
            with self._client() as client:
                found = client.mget([keys.result(self._queue, job_id) for job_id in self._sent])
                return all(found) and client.xlen(keys.stream(self._queue)) == 0
        except (redis.RedisError, OSError):
            return False

    def check_each_ended_once(self) -> None:
        """Each job succeeded, and its success was told once; a second sending of it is a duplicate, if anything."""
        with self._client() as client:
            results: Any = client.mget([keys.result(self._queue, job_id) for job_id in self._sent])
            told: Any = client.xrange(keys.reply(self._queue, REPLIES))
            assert client.xlen(keys.dead(self._queue)) == client.zcard(keys.scheduled(self._queue)) == 0
        for number, raw in enumerate(results):
            outcome = json.loads(raw)
            assert (outcome["status"], outcome["value"]) == ("succeeded", number * number)
        outcomes = [json.loads(fields[b"m"]) for _, fields in told if b"m" in fields]
        successes = Counter(outcome["id"] for outcome in outcomes if outcome["status"] == "succeeded")
        assert successes == dict.fromkeys(self._sent, 1)

    def _replicated(self, command: tuple[str, ...]) -> None:
        deadline = time.monotonic() + SEND_S
        while time.monotonic() < deadline:
            try:
                with self._client() as client, client.pipeline(transaction=False) as pipe:  # one connection for both
                    pipe.execute_command(*command)
                    pipe.execute_command("WAIT", 1, WAIT_MS)
                    if pipe.execute()[1] >= 1:
                        return
            except (redis.RedisError, OSError):
                time.sleep(0.02)
        raise AssertionError(f"no master and replica took it within {SEND_S} s")
