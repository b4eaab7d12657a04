"""Bringing a chain into another queue by `scripts/post.lua`, on the connection where that queue is. For the session."""

import asyncio

from redis.exceptions import RedisError

from workd.broker import keys, scripts
from workd.broker.faults import text_of
from workd.broker.kinship import Post
from workd.broker.link import Link
from workd.broker.servers import Servers

PATIENCE_S = 0.5  # with a node that is being connected to: the ends of other jobs wait meanwhile


class Elsewhere:
    """The way from a session to queues that are not its own."""

    def __init__(self, servers: Servers, timeout_s: float, client_name: str) -> None:
        """Connect to nobody yet."""
        self._servers = servers
        self._timeout_s = timeout_s
        self._client_name = client_name
        self._links: dict[str, Link] = {}
        self._opening: dict[str, asyncio.Task[Link]] = {}

    async def post(self, shared: Link, post: Post, claim_ms: int) -> str:
        """Return what is in the way, '' if it is done. Twice is as good as once. Raises redis-py's errors.

        `shared` reaches all queues, but in a Cluster, where each is on a node of its own. There the trouble of
        another queue's node is no trouble of the session: it is in the way. Safe to call many times at once.
        """
        several = self._servers.several
        if several is None or several.kind != "cluster":
            return await _post(shared, post, claim_ms)
        link = None
        try:
            link = await self._link_to(post.queue)
            return await _post(link, post, claim_ms)
        except (RedisError, OSError) as error:
            if link is not None and self._links.get(post.queue) is link:
                del self._links[post.queue]
                await link.close()
            return f"queue {post.queue}, on another node: {text_of(error)}"

    async def close(self) -> None:
        """Close what was opened here. Safe twice."""
        opening, self._opening = list(self._opening.values()), {}
        for task in opening:
            task.cancel()
        for opened in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(opened, Link):
                await opened.close()
        while self._links:
            await self._links.popitem()[1].close()

    async def _link_to(self, queue: str) -> Link:
        """Return the connection to a queue's node. One that takes its time is opened meanwhile, for a later call."""
        link = self._links.get(queue)
        if link is not None and not link.closed:
            return link
        opening = self._opening.get(queue)
        if opening is None:
            opening = self._opening[queue] = asyncio.create_task(self._open(queue))
        await asyncio.wait({opening}, timeout=PATIENCE_S)
        if not opening.done():
            raise OSError("there is no connection to it yet")
        if self._opening.get(queue) is opening:
            del self._opening[queue]
            if opening.exception() is None:
                self._links[queue] = opening.result()
        return opening.result()

    async def _open(self, queue: str) -> Link:
        connect = await self._servers.find(queue, self._timeout_s, self._client_name)
        return await Link.open(connect, self._timeout_s)


async def _post(link: Link, post: Post, claim_ms: int) -> str:
    ttl_ms = int(post.result_ttl_s * 1000)
    said = (post.id, post.message, post.outcome, ttl_ms, post.reply_to or b"")
    head = (keys.prefix(post.queue), claim_ms)
    tail = (post.chain, keys.SEEN_MS, post.number, post.course, post.signature, post.source)
    reply: bytes = await scripts.POST.call(link, (keys.stream(post.queue),), *head, *said, *tail)
    return reply.decode(errors="replace")
