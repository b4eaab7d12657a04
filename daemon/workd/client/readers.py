"""The reply streams of a Cluster: a reader for each queue, since no read can wait for two slots.

Owned here: which reader has which queue. Each is one of reader.py or async_reader.py, and sees of the one table its own
queue alone.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from workd.client.links import Links
from workd.client.reader import ReplyReader

if TYPE_CHECKING:
    from workd.client.link import Link
    from workd.client.replies import ReplyTable


def reader_of(link: Link, table: ReplyTable) -> ReplyReader | ReplyReaders:
    """Return what reads the reply streams of a client."""
    apart = isinstance(link, Links) and link.places.is_cluster
    return ReplyReaders(link, table) if apart else ReplyReader(link, table)


class QueueTable:
    """A table of replies as the reader of one queue sees it."""

    def __init__(self, table: ReplyTable, queue: str) -> None:
        """See the part of `table` that is about `queue`."""
        self.name = table.name
        self.deliver_raw = table.deliver_raw
        self._table = table
        self._queue = queue

    @property
    def live(self) -> frozenset[str]:
        """The queue, if its reply stream is being read now."""
        return self._table.live & {self._queue}

    def set_live(self, queues: frozenset[str]) -> None:
        """Say whether the queue's reply stream is read from now on."""
        self._table.set_live(queues, of=frozenset({self._queue}))

    def waiting(self) -> dict[str, list[str]]:
        """List the ids of this queue that somebody waits for."""
        return {queue: ids for queue, ids in self._table.waiting().items() if queue == self._queue}


class ReplyReaders:
    """The readers of all queues, as one; safe for threads."""

    def __init__(self, link: Link, table: ReplyTable) -> None:
        """Begin with nothing to watch, and no thread."""
        self._link = link
        self._table = table
        self._lock = threading.Lock()
        self._readers: dict[str, ReplyReader] = {}
        self._stopped = False

    def watch(self, queue: str) -> None:
        """Read this queue's replies from now on; returns before it is so."""
        if queue in self._readers:
            return
        with self._lock:
            if self._stopped or queue in self._readers:
                return
            reader = self._readers[queue] = ReplyReader(self._link, QueueTable(self._table, queue))
        reader.watch(queue)

    def stop(self) -> None:
        """End the threads; safe twice, and safe before they were started."""
        with self._lock:
            self._stopped = True
        for reader in self._readers.values():
            reader.stopping.set()
        for reader in self._readers.values():
            reader.stop()

    def abandon(self) -> None:
        """End the threads without talking to a server: nobody holds the client any more, and this is any thread."""
        self._stopped = True
        for reader in list(self._readers.values()):
            reader.abandon()
