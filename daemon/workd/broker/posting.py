"""Bringing a chain into another queue by `scripts/post.lua`, on the connection where that queue is. For the session."""

from workd.broker import keys, scripts
from workd.broker.kinship import Post
from workd.broker.link import Link
from workd.broker.servers import Servers


class Elsewhere:
    """The way from a session to queues that are not its own."""

    def __init__(self, servers: Servers, shared: Link, timeout_s: float, client_name: str, opened: list[Link]) -> None:
        """`shared` reaches all queues, but in a Cluster, where each is on a node of its own.

        `opened` gets the connections that are made here; the session closes them.
        """
        self._opened = opened
        self._servers = servers
        self._shared = shared
        self._timeout_s = timeout_s
        self._client_name = client_name
        self._links: dict[str, Link] = {}

    async def post(self, post: Post, claim_ms: int) -> str:
        """Return what is in the way, '' if it is done. Twice is as good as once. Raises redis-py's errors."""
        ttl_ms = int(post.result_ttl_s * 1000)
        said = (post.id, post.message, post.outcome, ttl_ms, post.reply_to or b"")
        head = (keys.prefix(post.queue), claim_ms)
        link = await self._link_to(post.queue)
        reply: bytes = await scripts.POST.call(link, (keys.stream(post.queue),), *head, *said)
        return reply.decode(errors="replace")

    async def _link_to(self, queue: str) -> Link:
        several = self._servers.several
        if several is None or several.kind != "cluster":
            return self._shared
        link = self._links.get(queue)
        if link is None or link.closed:
            connect = await self._servers.find(queue, self._timeout_s, self._client_name)
            link = self._links[queue] = await Link.open(connect, self._timeout_s)
            self._opened.append(link)
        return link
