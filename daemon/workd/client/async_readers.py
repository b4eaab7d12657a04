"""The reply streams of a Cluster for asyncio: see readers.py, whose rules are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd.client.async_links import AsyncLinks
from workd.client.async_reader import AsyncReplyReader
from workd.client.readers import QueueTable

if TYPE_CHECKING:
    from workd.client.async_link import AsyncLink
    from workd.client.replies import ReplyTable


def async_reader_of(link: AsyncLink, table: ReplyTable) -> AsyncReplyReader | AsyncReplyReaders:
    """Return what reads the reply streams of a client."""
    apart = isinstance(link, AsyncLinks) and link.servers.is_cluster
    return AsyncReplyReaders(link, table) if apart else AsyncReplyReader(link, table)


class AsyncReplyReaders:
    """The readers of all queues, as one."""

    def __init__(self, link: AsyncLink, table: ReplyTable) -> None:
        """Begin with nothing to watch, and no task."""
        self._link = link
        self._table = table
        self._readers: dict[str, AsyncReplyReader] = {}
        self._stopped = False

    async def watch(self, queue: str) -> None:
        """Read this queue's replies from now on; returns before it is so."""
        if self._stopped:
            return
        reader = self._readers.get(queue)
        if reader is None:
            reader = self._readers[queue] = AsyncReplyReader(self._link, QueueTable(self._table, queue))
        await reader.watch(queue)

    async def stop(self) -> None:
        """End the tasks; safe twice, and safe before they were started."""
        self._stopped = True
        for reader in self._readers.values():
            await reader.stop()

    def abandon(self) -> None:
        """Have the tasks end, from any thread: nobody has the client any more."""
        self._stopped = True
        for reader in list(self._readers.values()):
            reader.abandon()
