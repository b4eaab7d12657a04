"""The thread that reads a client's reply streams.

Owned here: one connection and one thread per client, started when somebody first waits for a result. It makes
the streams, keeps them alive, delivers what comes to the table, and drops what it has read. Whenever it has
(re)made them, and every REFRESH_S, it also looks into `result:<id>` for all that is waited for: that is how
outcomes come that were settled while nobody could read, and all of them if Redis refuses us the streams. It
never raises into the user's program: its troubles are logged and tried again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from workd.client import commands
from workd.client.commands import REFRESH_S, TRIM_EVERY
from workd.client.connection import Deadline
from workd.errors import ClientError, MessageError

if TYPE_CHECKING:
    from workd.client.connection import Connection
    from workd.client.link import Link
    from workd.client.readers import QueueTable
    from workd.client.replies import ReplyTable

FIRST_BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 0.5
_STOP_S = 1.0
WAKE_S = 0.5  # who watches another queue waits for this, and has a timeout of his own
MARGIN_S = 5.0  # a blocked read that is this late has lost its server

logger = logging.getLogger(__name__)


class ReplyReader:
    """Reads the reply streams of the queues it is told to watch."""

    def __init__(self, link: Link, table: ReplyTable | QueueTable) -> None:
        """Begin with nothing to watch, and no thread."""
        self.stopping = threading.Event()
        self._link = link
        self._table = table
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None  # the one that the thread reads
        self._queues: frozenset[str] = frozenset()  # written by watch(), read by the thread
        self._positions: dict[str, str] = {}  # the thread's alone
        self._untrimmed = 0
        self._backoff_s = 0.0

    def watch(self, queue: str) -> None:
        """Read this queue's replies from now on; returns before it is so."""
        if queue in self._queues:
            return
        with self._lock:
            self._queues |= {queue}
            if self._thread is None and not self.stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="workd-replies", daemon=True)
                self._thread.start()
        self._wake()

    def stop(self) -> None:
        """End the thread; safe twice, and safe before it was started."""
        self.stopping.set()
        with self._lock:  # another thread may be about to start it
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self.abandon()
        thread.join(_STOP_S)

    def abandon(self) -> None:
        """End the thread without waiting for it, or for a server that may hang; from any thread."""
        self.stopping.set()
        connection = self._connection
        if connection is not None:
            connection.interrupt()  # its read ends at once, instead of holding a connection for a while

    def _wake(self) -> None:
        for queue in self._table.live:
            with suppress(ClientError):  # then its read breaks, or times out
                self._link.call(commands.wake(queue, self._table.name), Deadline(WAKE_S))
            return

    def _run(self) -> None:
        while not self.stopping.wait(self._backoff_s * random.uniform(0.8, 1.2)):  # noqa: S311 (spreads reconnects)
            try:
                self._serve()
            except ClientError as error:
                if not self._backoff_s and not self.stopping.is_set():
                    logger.warning("results come late, the reply streams cannot be read: %s", error)
                self._backoff_s = min(LONGEST_BACKOFF_S, self._backoff_s * 2 or FIRST_BACKOFF_S)

    def _serve(self) -> None:
        """Read on one connection until it breaks or the end."""
        connection = self._connection = self._connect()
        try:
            while not self.stopping.is_set():
                self._refresh(connection)
                self._read_until(connection, time.monotonic() + REFRESH_S)
        finally:
            self._table.set_live(frozenset())
            self._connection = None
            connection.close()

    def _connect(self) -> Connection:
        wanted_for = commands.wake(min(self._queues), self._table.name)
        return self._link.connect(wanted_for, Deadline(self._link.deadline_s))

    def _refresh(self, connection: Connection) -> None:
        queues = self._queues
        try:
            for queue in queues:
                sent = commands.refresh(queue, self._table.name, self._positions.get(queue))
                marker_id = self._link.ask(connection, sent, Deadline(self._link.deadline_s))[0]
                self._positions.setdefault(queue, marker_id.decode())
            self._table.set_live(queues)
            self._backoff_s = 0.0
        finally:
            self._look_up(connection)

    def _look_up(self, connection: Connection) -> None:
        for queue, job_ids in self._table.waiting().items():
            for some in commands.id_chunks(job_ids):
                ask = [commands.results(queue, some)]
                found = self._link.ask(connection, ask, Deadline(self._link.deadline_s))[0]
                for raw in filter(None, found):
                    self._deliver(queue, raw)

    def _read_until(self, connection: Connection, refresh_at_s: float) -> None:
        while not self.stopping.is_set() and self._queues == self._table.live:
            block_s = refresh_at_s - time.monotonic()
            if block_s <= 0:
                return
            ask = commands.read(self._table.name, self._positions, block_s)
            answer = self._link.ask(connection, [ask], Deadline(block_s + MARGIN_S))[0]
            for queue, entry_id, raw in commands.parse_read(self._table.name, self._positions, answer):
                self._positions[queue] = entry_id
                self._untrimmed += 1
                if raw is not None:
                    self._deliver(queue, raw)
            if self._untrimmed >= TRIM_EVERY:
                self._trim(connection)

    def _trim(self, connection: Connection) -> None:
        sent = [commands.trim(queue, self._table.name, last_id) for queue, last_id in self._positions.items()]
        self._link.ask(connection, sent, Deadline(self._link.deadline_s))
        self._untrimmed = 0

    def _deliver(self, queue: str, raw: bytes) -> None:
        try:
            self._table.deliver_raw(queue, raw)
        except MessageError as error:
            logger.warning("queue %s: what came as an outcome is none: %s", queue, error)
