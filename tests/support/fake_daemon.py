"""As much of a daemon as a producer can see: it takes jobs from streams and writes outcomes, in one thread.

No leases, no retries, no processes: tests of the client say here what becomes of each job.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import redis
from pydantic_core import to_json

from workd import wire
from workd.broker import keys
from workd.wire import Envelope, ErrorInfo, Status


class FakeDaemon:
    """Runs `tasks` (name to function) for `queues` until it is closed. `hold()` keeps it from taking jobs."""

    def __init__(self, client: redis.Redis, tasks: Mapping[str, Callable[..., Any]], *queues: str) -> None:
        self.seen: list[Envelope] = []
        self._client = client
        self._tasks = tasks
        self._queues = queues or ("default",)
        self._free = threading.Event()
        self._free.set()
        self._turning = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-daemon")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._free.set()
        self._thread.join()
        self._client.close()

    def hold(self) -> None:
        """Take no jobs until `release`; returns when the job that is being taken has ended."""
        self._free.clear()
        with self._turning:
            pass

    def release(self) -> None:
        """Take jobs again."""
        self._free.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._free.wait()
                with self._turning:
                    busy = self._free.is_set() and sum(self._turn(queue) for queue in self._queues)
                if not busy:
                    time.sleep(0.002)
            except redis.ConnectionError:  # tests stop servers
                time.sleep(0.02)

    def _turn(self, queue: str) -> bool:
        stream = keys.stream(queue)
        try:
            answer: Any = self._client.xreadgroup(keys.GROUP, "fake", {stream: ">"}, count=200)
        except redis.ResponseError:
            self._client.xgroup_create(stream, keys.GROUP, id="0", mkstream=True)
            return True
        for _, entries in answer or ():
            for entry_id, fields in entries:
                self._settle(queue, entry_id, fields[b"m"])
        return bool(answer)

    def _settle(self, queue: str, entry_id: bytes, raw: bytes) -> None:
        envelope = wire.decode(raw)
        is_second = envelope.id is not None and any(envelope.id == earlier.id for earlier in self.seen)
        self.seen.append(envelope)
        job_id = envelope.id or entry_id.decode()
        run = _refuse_second if is_second else self._tasks[envelope.task]
        outcome = self._outcome(run, envelope, job_id, int(entry_id.partition(b"-")[0]) / 1000)
        pipe = self._client.pipeline(transaction=False)
        is_the_first_ones = envelope.id is not None and b'"type":"duplicate"' in outcome
        if envelope.result_ttl and not is_the_first_ones:
            pipe.set(keys.result(queue, job_id), outcome, px=int(envelope.result_ttl * 1000))
        if envelope.reply_to:
            pipe.xadd(keys.reply(queue, envelope.reply_to), {"m": outcome}, nomkstream=True)
        pipe.xack(keys.stream(queue), keys.GROUP, entry_id)
        pipe.xdel(keys.stream(queue), entry_id)
        pipe.execute(raise_on_error=False)

    def _outcome(self, run: Callable[..., Any], envelope: Envelope, job_id: str, enqueued_at: float) -> bytes:
        status, value, error = Status.SUCCEEDED, None, None
        try:
            value = to_json(run(*envelope.args, **envelope.kwargs))
        except Exception as raised:  # noqa: BLE001 (whatever a task raises)
            kind = "duplicate" if isinstance(raised, Duplicate) else type(raised).__name__
            status = _STATUS_OF.get(type(raised), Status.DEAD)
            error = wire.encode_error(ErrorInfo(type=kind, message=str(raised)))
        now = time.time()
        return wire.encode_outcome(
            job_id, envelope.task, status, value, error, 1, 1, enqueued_at, now, now, "fake:1:00000000"
        )


class Duplicate(Exception):
    """The job ends as a duplicate."""


def _refuse_second(*_: object, **__: object) -> None:
    raise Duplicate("another job had this id")


class Cancelled(Exception):
    """The job ends as cancelled."""


class Expired(Exception):
    """The job ends as expired."""


_STATUS_OF = {Duplicate: Status.CANCELLED, Cancelled: Status.CANCELLED, Expired: Status.EXPIRED}
