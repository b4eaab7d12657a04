"""Bringing a chain into another queue by `scripts/post.lua`, on the connection where that queue is. For the session."""

from redis.exceptions import RedisError

from workd.broker import keys, scripts
from workd.broker.faults import text_of
from workd.broker.kinship import Post
from workd.broker.link import Link
from workd.broker.servers import Servers


class Elsewhere:
    """The way from a session to queues that are not its own."""

    def __init__(self, servers: Servers, timeout_s: float, client_name: str) -> None:
        """Connect to nobody yet."""
        self._servers = servers
        self._timeout_s = timeout_s
        self._client_name = client_name
        self._links: dict[str, Link] = {}

    async def post(self, shared: Link, post: Post, claim_ms: int) -> str:
        """Return what is in the way, '' if it is done. Twice is as good as once. Raises redis-py's errors.

        `shared` reaches all queues, but in a Cluster, where each is on a node of its own. There the trouble of
        another queue's node is no trouble of the session: it is in the way.
        """
        several = self._servers.several
        if several is None or several.kind != "cluster":
            return await _post(shared, post, claim_ms)
        try:
            return await _post(await self._link_to(post.queue), post, claim_ms)
        except (RedisError, OSError) as error:
            await self._drop(post.queue)
            return f"queue {post.queue}, on another node: {text_of(error)}"

    async def close(self) -> None:
        """Close what was opened here. Safe twice."""
        for queue in list(self._links):
            await self._drop(queue)

    async def _link_to(self, queue: str) -> Link:
        link = self._links.get(queue)
        if link is None or link.closed:
            connect = await self._servers.find(queue, self._timeout_s, self._client_name)
            link = self._links[queue] = await Link.open(connect, self._timeout_s)
        return link

    async def _drop(self, queue: str) -> None:
        link = self._links.pop(queue, None)
        if link is not None:
            await link.close()


async def _post(link: Link, post: Post, claim_ms: int) -> str:
    ttl_ms = int(post.result_ttl_s * 1000)
    said = (post.id, post.message, post.outcome, ttl_ms, post.reply_to or b"")
    head = (keys.prefix(post.queue), claim_ms)
    tail = (post.chain, keys.SEEN_MS)
    reply: bytes = await scripts.POST.call(link, (keys.stream(post.queue),), *head, *said, *tail)
    return reply.decode(errors="replace")
